package node

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

const (
	logging = concepts + "cluster-administration/logging/"
	shellIn = tasks + "debug/debug-application/get-shell-running-container/"
)

func logSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.logs.options",
		Promise: "A log can be cut to its last lines, its first bytes or a time, and shown with times.",
		Source:  logging + "#basic-logging-in-kubernetes", Judges: []string{"kubelet", "kube-apiserver"},
	}, func(ctx context.Context) {
		// Standard output and error are two pipes: lines written at once may be read in either order.
		pod := task(s.Namespace(ctx), shell("main", "echo one; usleep 300000; echo two >&2; usleep 1500000; echo three"))
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"one", "two", "three"}))
		logs := func(flags ...string) string {
			return s.Kubectl(ctx, append([]string{"-n", pod.Namespace, "logs", pod.Name}, flags...)...)
		}
		gomega.Expect(logs("--tail=2")).To(gomega.Equal("two\nthree\n"))
		gomega.Expect(logs("--limit-bytes=5")).To(gomega.Equal("one\nt"))
		var times []time.Time
		for _, line := range lines(logs("--timestamps")) {
			stamp, text, _ := strings.Cut(line, " ")
			gomega.Expect(text).To(gomega.BeElementOf("one", "two", "three"))
			at, err := time.Parse(time.RFC3339Nano, stamp)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			times = append(times, at)
		}
		gomega.Expect(times).To(gomega.HaveLen(3))
		gomega.Expect(logs("--since-time=" + times[2].UTC().Format(time.RFC3339))).To(gomega.Equal("three\n"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.logs.previous",
		Promise: "The log of a container's last run can be read while it runs again.",
		Source:  logging, Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "again", shell("main", "echo x >> /shared/runs; echo run $(wc -l < /shared/runs); test $(wc -l < /shared/runs) -ge 2 || exit 1; tail -f /dev/null"))
		mount(pod, "shared", scratch())
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveContainer("main", "running again", func(status corev1.ContainerStatus) bool {
			return status.RestartCount == 1 && status.State.Running != nil
		}))).To(gomega.Succeed())
		gomega.Expect(s.Kubectl(ctx, "-n", pod.Namespace, "logs", "again", "--previous")).To(gomega.Equal("run 1\n"))
		gomega.Expect(s.Kubectl(ctx, "-n", pod.Namespace, "logs", "again", "--follow=false")).To(gomega.BeElementOf("run 2\n", ""))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.logs.follow",
		Promise: "Following a log gives lines as they are printed, and ends with the container.",
		Source:  logging, Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), shell("main", "echo before; until test -e /go; do usleep 50000; done; echo after"))
		s.CreateReady(ctx, pod)
		log := following(ctx, s, pod)
		first := make([]byte, len("before\n"))
		_, err := io.ReadFull(log, first)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(string(first)).To(gomega.Equal("before\n"))
		gomega.Expect(s.Exec(ctx, pod, "touch", "/go")).To(gomega.BeEmpty())
		gomega.Expect(allOf(log)).To(gomega.Equal([]string{"after"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.logs.ended",
		Promise: "All that a container has printed can be read as soon as its end is told, however short it ran.",
		Source:  logging, Judges: judged(),
	}, func(ctx context.Context) {
		const pods = 24 // at once, so that the node has much else to do meanwhile
		namespace := s.Namespace(ctx)
		var group errgroup.Group
		for i := range pods {
			pod := task(namespace, shell("main", "echo said"))
			pod.Name = fmt.Sprintf("brief-%d", i)
			group.Go(func() error { return readAtEnd(ctx, s, pod, "said\n") })
		}
		gomega.Expect(group.Wait()).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.exec.exit-code",
		Promise: "kubectl exec ends with the command's exit code, passes its input on, and keeps its two outputs apart.",
		Source:  shellIn, Judges: []string{"kubelet", "kube-apiserver"},
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "shell", shell("main", "tail -f /dev/null & trap 'exit 0' TERM; wait"))
		s.CreateReady(ctx, pod)
		command := s.KubectlCommand(ctx, "-n", pod.Namespace, "exec", "-i", pod.Name, "--", "sh", "-c", "cat; echo problem >&2; exit 42")
		var stdout, stderr strings.Builder
		command.Stdin, command.Stdout, command.Stderr = strings.NewReader("input\n"), &stdout, &stderr
		gomega.Expect(command.Run()).To(gomega.HaveOccurred())
		gomega.Expect(command.ProcessState.ExitCode()).To(gomega.Equal(42))
		gomega.Expect(stdout.String()).To(gomega.Equal("input\n"))
		gomega.Expect(stderr.String()).To(gomega.HavePrefix("problem\n"))
	})
}

// readAtEnd runs a pod and reads its log once, at the moment its end is seen. Of a log that
// is not what was printed, the error says whether it becomes so later.
func readAtEnd(ctx context.Context, s *suite.Suite, pod *corev1.Pod, whole string) error {
	if err := s.Watch.Client().Create(ctx, pod); err != nil {
		return err
	}
	if err := s.Watch.Until(ctx, pod, haveEnded()); err != nil {
		return err
	}
	read := func(ctx context.Context) (string, error) {
		text, err := s.Clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		return string(text), err
	}
	text, err := read(ctx)
	if err != nil || text == whole {
		return err
	}
	const often, patience = 20 * time.Millisecond, 5 * time.Second
	late := wait.PollUntilContextTimeout(ctx, often, patience, false, func(ctx context.Context) (bool, error) {
		later, err := read(ctx)
		return later == whole, err
	})
	if late != nil {
		return fmt.Errorf("pod %s on %s ended with the log %q, which never became %q: %w", pod.Name, pod.Spec.NodeName, text, whole, late)
	}
	return fmt.Errorf("pod %s on %s ended with the log %q, which became %q later", pod.Name, pod.Spec.NodeName, text, whole)
}
