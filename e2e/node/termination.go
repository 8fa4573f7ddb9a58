package node

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const (
	termination    = podLifecycle + "#pod-termination"
	lifecycleHooks = concepts + "containers/container-lifecycle-hooks/"
)

// following opens a pod's log, to be read to its end; the log outlives the deletion.
func following(ctx context.Context, s *suite.Suite, pod *corev1.Pod) io.ReadCloser {
	ginkgo.GinkgoHelper()
	stream, err := s.Clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(stream.Close)
	return stream
}

// allOf reads a log to its end.
func allOf(log io.Reader) []string {
	ginkgo.GinkgoHelper()
	text, err := io.ReadAll(log)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return lines(string(text))
}

func terminationSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.termination.grace",
		Promise: "A deleted pod's processes get SIGTERM, and SIGKILL only when the grace period is over.",
		Source:  termination, Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "stubborn", suite.AgentContainer("signal-log"))
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3)
		s.CreateReady(ctx, pod)
		log := following(ctx, s, pod)
		// The kernel keeps from a container's first process what it does not listen for yet.
		first := make([]byte, len("ready\n"))
		_, err := io.ReadFull(log, first)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(string(first)).To(gomega.Equal("ready\n"))
		s.Delete(ctx, pod, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, pod, haveTerminated("agent"))).To(gomega.Succeed())
		end := statusOf(pod, "agent").State.Terminated
		gomega.Expect(end.ExitCode).To(gomega.Equal(int32(137)))
		// Times in the API are whole seconds.
		gomega.Expect(end.FinishedAt.Time).To(gomega.BeTemporally(">=", pod.DeletionTimestamp.Add(-time.Second)))
		gomega.Expect(s.Watch.Gone(ctx, pod)).To(gomega.Succeed())
		gomega.Expect(allOf(log)).To(gomega.HaveExactElements(gomega.HaveSuffix(" terminated")))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.termination.prompt",
		Promise: "A pod whose processes end on SIGTERM is gone before its grace period is over.",
		Source:  termination, Judges: judged(),
	}, func(ctx context.Context) {
		// The kernel keeps from a container's first process what it does not listen for yet.
		listener := suite.AgentContainer("signal-log", "--end-on=terminated", "--file=/tmp/heard")
		listener.ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/agent", "cat", "/tmp/heard"}}},
			PeriodSeconds: 1,
		}
		pod := suite.Pod(s.Namespace(ctx), "polite", listener)
		mount(pod, "tmp", scratch())
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](600) // far longer than the wait
		s.CreateReady(ctx, pod)
		s.Delete(ctx, pod, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, pod)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.termination.starting",
		Promise: "A pod that is deleted by force while it starts leaves no process on its node.",
		Source:  termination + "-forced", Judges: judged(),
	}, func(ctx context.Context) {
		node, namespace := s.Nodes(ctx, 1)[0], s.Namespace(ctx)
		observer := suite.Pod(namespace, "observer", shell("main", "tail -f /dev/null & trap 'exit 0' TERM; wait"))
		observer.Spec.NodeName, observer.Spec.HostPID = node, true
		s.CreateReady(ctx, observer)

		const pods = 24 // at once, so that the node takes long enough to make one
		moments := []types.GomegaMatcher{expect.BeScheduled(), expect.HaveCondition("PodReadyToStartContainers", corev1.ConditionTrue)}
		uids := make([]string, pods)
		var group errgroup.Group
		for i := range pods {
			pod := suite.Pod(namespace, fmt.Sprintf("brief-%d", i), suite.AgentContainer("pause"))
			pod.Spec.NodeName = node
			group.Go(func() error {
				if err := s.Watch.Client().Create(ctx, pod); err != nil {
					return err
				}
				uids[i] = string(pod.UID)
				if err := s.Watch.Until(ctx, pod, moments[i%len(moments)]); err != nil {
					return err
				}
				return s.Watch.Client().Delete(ctx, pod, client.GracePeriodSeconds(0))
			})
		}
		gomega.Expect(group.Wait()).To(gomega.Succeed())
		// A process's control group bears its pod's uid; grep looks for each line of its pattern.
		const script = `grep -slF "$1" /proc/[0-9]*/cgroup | while read group; do echo "$group: $(tr '\0' ' ' < "${group%cgroup}cmdline")"; done`
		look := []string{"sh", "-c", script, "look", strings.Join(uids, "\n")}
		// A kubelet also looks from time to time for what it was not told of.
		gomega.Eventually(ctx, func() (string, error) { return s.Exec(ctx, observer, look...) }).
			WithPolling(200*time.Millisecond).WithTimeout(expect.Scaled(expect.Medium)).
			Should(gomega.BeEmpty(), "processes on %s of pods that are gone", node)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.termination.deadline",
		Promise: "A pod that has been active for activeDeadlineSeconds is ended and Failed, with the reason DeadlineExceeded.",
		Source:  concepts + "workloads/controllers/job/#job-termination-and-cleanup", Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "late", suite.AgentContainer("pause"))
		pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](1)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, expect.HavePhase(corev1.PodFailed))).To(gomega.Succeed())
		gomega.Expect(pod.Status.Reason).To(gomega.Equal("DeadlineExceeded"))
	})
}

func hookSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.hook.post-start",
		Promise: "A container does not count as running before its postStart hook has ended.",
		Source:  lifecycleHooks, Judges: judged(),
	}, func(ctx context.Context) {
		container := shell("main", "tail -f /dev/null & trap 'exit 0' TERM; wait")
		container.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "sleep 1; echo hooked > /hook"}},
		}}
		pod := suite.Pod(s.Namespace(ctx), "hooked", container)
		s.CreateReady(ctx, pod)
		gomega.Expect(s.Exec(ctx, pod, "cat", "/hook")).To(gomega.Equal("hooked\n"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.hook.post-start-failure",
		Promise: "A container whose postStart hook fails is killed, with an event FailedPostStartHook.",
		Source:  lifecycleHooks + "#hook-handler-execution", Judges: judged(),
	}, func(ctx context.Context) {
		container := suite.AgentContainer("pause")
		container.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: []string{"/agent", "exit", "9"}},
		}}
		pod := task(s.Namespace(ctx), container)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveEnded())).To(gomega.Succeed())
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.EventList{}, haveEvent("FailedPostStartHook"), inNamespace(pod))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.hook.pre-stop",
		Promise: "A preStop hook runs to its end before the container is sent SIGTERM.",
		Source:  lifecycleHooks, Judges: judged(),
	}, func(ctx context.Context) {
		container := shell("main", "trap 'echo terminated; exit 0' TERM; echo ready; tail -f /dev/null & wait")
		container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo begun > /proc/1/fd/1; sleep 1; echo done > /proc/1/fd/1"}},
		}}
		pod := suite.Pod(s.Namespace(ctx), "hooked", container)
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
		s.CreateReady(ctx, pod)
		log := following(ctx, s, pod)
		s.Delete(ctx, pod, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, pod)).To(gomega.Succeed())
		gomega.Expect(allOf(log)).To(gomega.Equal([]string{"ready", "begun", "done", "terminated"}))
	})
}
