package scheduling

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func preemptionSpecs(s *suite.Suite) {
	class := func(ctx context.Context, name string, value int32, policy corev1.PreemptionPolicy) string {
		ginkgo.GinkgoHelper()
		object := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"}, Value: value, PreemptionPolicy: &policy}
		s.Create(ctx, object)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, object))).To(gomega.Succeed())
		})
		return object.Name
	}
	taking := func(namespace, name, class string, resourceName corev1.ResourceName, amount string) *corev1.Pod {
		return pause(namespace, name, func(spec *corev1.PodSpec) {
			spec.PriorityClassName = class
			spec.Containers[0].Resources.Limits = corev1.ResourceList{resourceName: resource.MustParse(amount)}
		})
	}

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.preemption",
		Promise: "A pod of higher priority that fits nowhere takes the place of pods of lower priority, as few as are needed, which are told why.",
		Source:  preemption, Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.Nodes(ctx, 1)[0]}}
		extended := corev1.ResourceName("plumbline.dev/" + namespace)
		offer(ctx, s, node, extended, "4")
		low, middle, high := class(ctx, "low", 10, corev1.PreemptLowerPriority), class(ctx, "middle", 20, corev1.PreemptLowerPriority), class(ctx, "high", 30, corev1.PreemptLowerPriority)
		victim := taking(namespace, "victim", low, extended, "2")
		victim.Finalizers = []string{"plumbline.dev/look"}
		spared := taking(namespace, "spared", middle, extended, "2")
		s.Create(ctx, victim, spared)
		placed(ctx, s, victim)
		placed(ctx, s, spared)
		preemptor := taking(namespace, "preemptor", high, extended, "1")
		s.Create(ctx, preemptor)
		gomega.Expect(s.Watch.Until(ctx, victim, expect.BeTerminating())).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, victim, expect.HaveCondition(string(corev1.DisruptionTarget), corev1.ConditionTrue))).To(gomega.Succeed())
		suite.Patch(ctx, s, victim, func(p *corev1.Pod) { p.Finalizers = nil })
		gomega.Expect(placed(ctx, s, preemptor)).To(gomega.Equal(node.Name))
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(spared), spared)).To(gomega.Succeed())
		gomega.Expect(spared.DeletionTimestamp).To(gomega.BeNil())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.preemption.budget",
		Promise: "Of pods that could make room, preemption takes those whose disruption budget allows it.",
		Source:  preemption + "#poddisruptionbudget-is-supported-but-not-guaranteed", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.Nodes(ctx, 1)[0]}}
		extended := corev1.ResourceName("plumbline.dev/" + namespace)
		offer(ctx, s, node, extended, "2")
		low, high := class(ctx, "low", 10, corev1.PreemptLowerPriority), class(ctx, "high", 30, corev1.PreemptLowerPriority)
		guarded, free := taking(namespace, "guarded", low, extended, "1"), taking(namespace, "free", low, extended, "1")
		s.CreateReady(ctx, guarded)
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "guard"}, Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}},
		}}
		s.Create(ctx, budget)
		gomega.Expect(s.Watch.Until(ctx, budget, expect.Satisfy("count its pod", func(b *policyv1.PodDisruptionBudget) string {
			if b.Status.CurrentHealthy != 1 || b.Status.DisruptionsAllowed != 0 {
				return fmt.Sprintf("%+v", b.Status)
			}
			return ""
		}))).To(gomega.Succeed())
		s.CreateReady(ctx, free)
		preemptor := taking(namespace, "preemptor", high, extended, "1")
		s.Create(ctx, preemptor)
		placed(ctx, s, preemptor)
		gomega.Expect(s.Watch.Gone(ctx, free)).To(gomega.Succeed())
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(guarded), guarded)).To(gomega.Succeed())
		gomega.Expect(guarded.DeletionTimestamp).To(gomega.BeNil())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.preemption.never",
		Promise: "A pod whose class has the preemption policy Never waits for room instead of making it.",
		Source:  preemption + "#non-preempting-priority-class", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.Nodes(ctx, 1)[0]}}
		extended := corev1.ResourceName("plumbline.dev/" + namespace)
		offer(ctx, s, node, extended, "1")
		low, patient := class(ctx, "low", 10, corev1.PreemptLowerPriority), class(ctx, "patient", 30, corev1.PreemptNever)
		holder := taking(namespace, "holder", low, extended, "1")
		s.Create(ctx, holder)
		placed(ctx, s, holder)
		waiting := taking(namespace, "waiting", patient, extended, "1")
		s.Create(ctx, waiting)
		gomega.Expect(unschedulable(ctx, s, waiting)).To(gomega.ContainSubstring("Insufficient"))
		gomega.Expect(waiting.Status.NominatedNodeName).To(gomega.BeEmpty())
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(holder), holder)).To(gomega.Succeed())
		gomega.Expect(holder.DeletionTimestamp).To(gomega.BeNil())
		s.Delete(ctx, holder, metav1.DeletePropagationBackground)
		gomega.Expect(placed(ctx, s, waiting)).To(gomega.Equal(node.Name))
	})
}
