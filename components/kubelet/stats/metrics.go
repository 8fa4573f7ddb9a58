package stats

import (
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// WriteResourceMetrics writes the figures of /metrics/resource in Prometheus's text
// format, under the names of
// https://kubernetes.io/docs/reference/instrumentation/metrics/ (KEP-727).
func WriteResourceMetrics(w io.Writer, summary *statsapi.Summary) error {
	page := &page{}
	page.head("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds")
	page.cpu("node_cpu_usage_seconds_total", "", summary.Node.CPU)
	page.head("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes")
	page.memory("node_memory_working_set_bytes", "", summary.Node.Memory)

	page.head("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds")
	page.containers(summary, func(labels string, c *statsapi.ContainerStats) {
		page.cpu("container_cpu_usage_seconds_total", labels, c.CPU)
	})
	page.head("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes")
	page.containers(summary, func(labels string, c *statsapi.ContainerStats) {
		page.memory("container_memory_working_set_bytes", labels, c.Memory)
	})
	page.head("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds")
	for i := range summary.Pods {
		page.cpu("pod_cpu_usage_seconds_total", podLabels(&summary.Pods[i]), summary.Pods[i].CPU)
	}
	page.head("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes")
	for i := range summary.Pods {
		page.memory("pod_memory_working_set_bytes", podLabels(&summary.Pods[i]), summary.Pods[i].Memory)
	}
	page.head("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise")
	page.text.WriteString("resource_scrape_error 0\n")
	_, err := io.WriteString(w, page.text.String())
	return err
}

type page struct{ text strings.Builder }

func (p *page) head(name, kind, help string) {
	fmt.Fprintf(&p.text, "# HELP %s [STABLE] %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (p *page) line(name, labels string, value float64, at metav1.Time) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(&p.text, "%s%s %g %d\n", name, labels, value, at.UnixMilli())
}

func (p *page) cpu(name, labels string, cpu *statsapi.CPUStats) {
	if cpu != nil && cpu.UsageCoreNanoSeconds != nil {
		p.line(name, labels, float64(*cpu.UsageCoreNanoSeconds)/1e9, cpu.Time)
	}
}

func (p *page) memory(name, labels string, memory *statsapi.MemoryStats) {
	if memory != nil && memory.WorkingSetBytes != nil {
		p.line(name, labels, float64(*memory.WorkingSetBytes), memory.Time)
	}
}

func (p *page) containers(summary *statsapi.Summary, each func(labels string, c *statsapi.ContainerStats)) {
	for i := range summary.Pods {
		pod := &summary.Pods[i]
		for j := range pod.Containers {
			each(fmt.Sprintf("container=%q,%s", pod.Containers[j].Name, podLabels(pod)), &pod.Containers[j])
		}
	}
}

func podLabels(pod *statsapi.PodStats) string {
	return fmt.Sprintf("namespace=%q,pod=%q", pod.PodRef.Namespace, pod.PodRef.Name)
}
