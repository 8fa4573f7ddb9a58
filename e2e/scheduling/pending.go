package scheduling

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func pendingSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.resources",
		Promise: "A pod whose requests no node can meet stays Pending, and condition and event say how many nodes lack what.",
		Source:  resources, Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := len(s.Nodes(ctx, 1))
		pod := pause(namespace, "huge", func(spec *corev1.PodSpec) {
			spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10000")}
		})
		s.Create(ctx, pod)
		message := unschedulable(ctx, s, pod)
		gomega.Expect(message).To(gomega.MatchRegexp(`^0/\d+ nodes are available: `))
		gomega.Expect(message).To(gomega.ContainSubstring(fmt.Sprintf("%d Insufficient cpu", nodes)))
		gomega.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodPending))
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.EventList{}, expect.Satisfy("say FailedScheduling", func(list *corev1.EventList) string {
			var seen []string
			for _, e := range list.Items {
				if e.Reason == "FailedScheduling" && e.InvolvedObject.Name == "huge" && strings.Contains(e.Message, "Insufficient cpu") {
					return ""
				}
				seen = append(seen, e.Reason)
			}
			return strings.Join(seen, " ")
		}), client.InNamespace(namespace))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.resources.released",
		Promise: "A pod that waits for room is scheduled when another one gives it up.",
		Source:  resources, Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := s.Nodes(ctx, 1)[0]
		object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
		extended := corev1.ResourceName("plumbline.dev/" + namespace)
		offer(ctx, s, object, extended, "1")
		taking := func(name string) *corev1.Pod {
			return pause(namespace, name, func(spec *corev1.PodSpec) {
				spec.Containers[0].Resources.Limits = corev1.ResourceList{extended: resource.MustParse("1")}
			})
		}
		first, second := taking("first"), taking("second")
		s.Create(ctx, first)
		gomega.Expect(placed(ctx, s, first)).To(gomega.Equal(node))
		s.Create(ctx, second)
		gomega.Expect(unschedulable(ctx, s, second)).To(gomega.ContainSubstring("Insufficient " + string(extended)))
		s.Delete(ctx, first, metav1.DeletePropagationBackground)
		gomega.Expect(placed(ctx, s, second)).To(gomega.Equal(node))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.gates",
		Promise: "A pod with scheduling gates is not looked at until all of them are removed.",
		Source:  readiness, Judges: append(scheduler(), "kube-apiserver"),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		pod := pause(namespace, "gated", func(spec *corev1.PodSpec) {
			spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "plumbline.dev/one"}, {Name: "plumbline.dev/two"}}
		})
		s.Create(ctx, pod)
		gated := func() {
			gomega.Expect(s.Watch.Until(ctx, pod, expect.Satisfy("be gated", func(p *corev1.Pod) string {
				for _, c := range p.Status.Conditions {
					if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
						return ""
					}
				}
				return fmt.Sprint(p.Status.Conditions)
			}))).To(gomega.Succeed())
		}
		gated()
		suite.Patch(ctx, s, pod, func(p *corev1.Pod) { p.Spec.SchedulingGates = p.Spec.SchedulingGates[:1] })
		// A pod that is created later has been through the scheduler's queue when it is placed.
		later := pause(namespace, "later", nil)
		s.Create(ctx, later)
		placed(ctx, s, later)
		gated()
		gomega.Expect(pod.Spec.NodeName).To(gomega.BeEmpty())
		suite.Patch(ctx, s, pod, func(p *corev1.Pod) { p.Spec.SchedulingGates = nil })
		placed(ctx, s, pod)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.other-scheduler",
		Promise: "A pod that names another scheduler is left to it.",
		Source:  "https://kubernetes.io/docs/tasks/extend-kubernetes/configure-multiple-schedulers/", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		foreign := pause(namespace, "foreign", func(spec *corev1.PodSpec) { spec.SchedulerName = "somebody-else" })
		s.Create(ctx, foreign)
		later := pause(namespace, "later", nil)
		s.Create(ctx, later)
		placed(ctx, s, later)
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(foreign), foreign)).To(gomega.Succeed())
		gomega.Expect(foreign.Spec.NodeName).To(gomega.BeEmpty())
		gomega.Expect(foreign.Status.Conditions).To(gomega.BeEmpty())
	})
}
