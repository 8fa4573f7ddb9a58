package scheduling

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

func affinitySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.pod-affinity",
		Promise: "Pods with pod affinity go where the pods they name run, those with anti-affinity elsewhere.",
		Source:  assign + "#inter-pod-affinity-and-anti-affinity", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		anchor := pause(namespace, "anchor", func(spec *corev1.PodSpec) { spec.NodeSelector = map[string]string{corev1.LabelHostname: nodes[1]} })
		s.Create(ctx, anchor)
		placed(ctx, s, anchor)
		terms := []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "anchor"}}}}
		near := pause(namespace, "near", func(spec *corev1.PodSpec) {
			spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
		})
		far := pause(namespace, "far", func(spec *corev1.PodSpec) {
			spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
		})
		s.Create(ctx, near, far)
		gomega.Expect(placed(ctx, s, near)).To(gomega.Equal(nodes[1]))
		gomega.Expect(placed(ctx, s, far)).NotTo(gomega.Equal(nodes[1]))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.pod-anti-affinity.symmetric",
		Promise: "A running pod's required anti-affinity keeps away the pods it names, though they say nothing themselves.",
		Source:  assign + "#inter-pod-affinity-and-anti-affinity", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		recluse := pause(namespace, "recluse", func(spec *corev1.PodSpec) {
			spec.NodeSelector = map[string]string{corev1.LabelHostname: nodes[0]}
			spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guest"}}},
			}}}
		})
		s.Create(ctx, recluse)
		placed(ctx, s, recluse)
		guest := pause(namespace, "guest", nil)
		s.Create(ctx, guest)
		gomega.Expect(placed(ctx, s, guest)).NotTo(gomega.Equal(nodes[0]))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.topology-spread",
		Promise: "Topology spread constraints keep the number of matching pods in two domains from differing by more than maxSkew.",
		Source:  spread, Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)[:2]
		deployment := suite.Deployment(namespace, "spread", 6, corev1.Container{Name: "pause", Image: suite.Pause})
		deployment.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: deployment.Spec.Selector,
		}}
		deployment.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes}}}},
		}}}
		s.CreateRolledOut(ctx, deployment)
		counts := map[string]int{}
		for _, pod := range s.PodsOf(ctx, namespace, "spread") {
			counts[pod.Spec.NodeName]++
		}
		gomega.Expect(counts).To(gomega.Equal(map[string]int{nodes[0]: 3, nodes[1]: 3}))
	})
}
