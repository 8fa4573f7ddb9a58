package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// trees makes a hierarchy of ordinary directories, as on v1.
func trees(t *testing.T, controllers ...string) *Hierarchy {
	h := &Hierarchy{mounts: map[string]string{}}
	for _, c := range controllers {
		h.mounts[c] = t.TempDir()
	}
	return h
}

func resources(cpu, memory, cpuLimit, memoryLimit string) v1.ResourceRequirements {
	list := func(cpu, memory string) v1.ResourceList {
		out := v1.ResourceList{}
		if cpu != "" {
			out[v1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[v1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	return v1.ResourceRequirements{Requests: list(cpu, memory), Limits: list(cpuLimit, memoryLimit)}
}

func TestPodGroups(t *testing.T) {
	tests := []struct {
		name       string
		containers []v1.ResourceRequirements
		group      string
		want       Limits
	}{
		{"guaranteed", []v1.ResourceRequirements{resources("500m", "64Mi", "500m", "64Mi")}, "/kubepods/podu",
			Limits{CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, Memory: 64 << 20, PIDs: -1}},
		{"burstable, all limited", []v1.ResourceRequirements{resources("100m", "", "1", "64Mi"), resources("100m", "", "1", "64Mi")}, "/kubepods/burstable/podu",
			Limits{CPUShares: 204, CPUQuota: 200000, CPUPeriod: 100000, Memory: 128 << 20, PIDs: -1}},
		{"burstable, one without limits", []v1.ResourceRequirements{resources("100m", "", "1", "64Mi"), resources("", "", "", "")}, "/kubepods/burstable/podu",
			Limits{CPUShares: 102, CPUQuota: -1, CPUPeriod: 100000, Memory: -1, PIDs: -1}},
		{"best effort", []v1.ResourceRequirements{resources("", "", "", "")}, "/kubepods/besteffort/podu",
			Limits{CPUShares: 2, CPUQuota: -1, CPUPeriod: 100000, Memory: -1, PIDs: -1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := &v1.Pod{}
			pod.UID = "u"
			for _, r := range test.containers {
				pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Resources: r})
			}
			pods := NewPods(PodsConfig{PerQOS: true, CFSQuota: true, CFSPeriodMicros: 100000, PIDsPerPod: -1})
			if got := pods.Group(pod); got != test.group {
				t.Errorf("group %s, want %s", got, test.group)
			}
			if got := pods.LimitsOf(pod); got != test.want {
				t.Errorf("limits %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestEnsureAndRemove(t *testing.T) {
	h := trees(t, "cpu", "memory", "pids", "devices", "unified")
	pods := NewPods(PodsConfig{Hierarchy: h, PerQOS: true, CFSQuota: true, CFSPeriodMicros: 100000, PIDsPerPod: 100})
	if err := pods.Init(Limits{Memory: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	pod := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Resources: resources("250m", "", "", "")}}}}
	pod.UID = "u"
	if err := pods.Ensure(pod); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		h.Path("memory", "/kubepods/memory.limit_in_bytes"):        "1073741824",
		h.Path("cpu", "/kubepods/burstable/podu/cpu.shares"):       "256",
		h.Path("cpu", "/kubepods/burstable/cpu.shares"):            "256",
		h.Path("cpu", "/kubepods/besteffort/cpu.shares"):           "2",
		h.Path("pids", "/kubepods/burstable/podu/pids.max"):        "100",
		h.Path("cpu", "/kubepods/burstable/podu/cpu.cfs_quota_us"): "-1",
	} {
		raw, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(raw)) != want {
			t.Errorf("%s: %q, %v; want %s", path, raw, err, want)
		}
	}
	if got := pods.Existing(); len(got) != 1 || got[0] != "u" {
		t.Errorf("existing pods %v", got)
	}
	// Ordinary directories hold files, the kernel's are empty: take them out.
	for controller, mount := range h.mounts {
		dir := filepath.Join(mount, "kubepods/burstable/podu")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "container"), 0o755); err != nil {
			t.Fatal(controller, err)
		}
	}
	if err := pods.Remove("u"); err != nil {
		t.Fatal(err)
	}
	for controller := range h.mounts {
		if _, err := os.Stat(h.Path(controller, "/kubepods/burstable/podu")); !os.IsNotExist(err) {
			t.Errorf("%s: the pod's group is still there", controller)
		}
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{2: 1, 1024: 100, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("weight(%d) = %d, want %d", shares, got, want)
		}
	}
}
