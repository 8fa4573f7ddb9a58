package scheduling

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func selectionSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.node-selector",
		Promise: "A pod with a node selector runs only on a node that has all of its labels, and waits while there is none.",
		Source:  assign + "#nodeselector", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		key := "plumbline.dev/" + namespace
		pod := pause(namespace, "choosy", func(spec *corev1.PodSpec) { spec.NodeSelector = map[string]string{key: "here"} })
		s.Create(ctx, pod)
		gomega.Expect(unschedulable(ctx, s, pod)).To(gomega.ContainSubstring("node(s) didn't match Pod's node affinity/selector"))
		label(ctx, s, nodes[1], key, "here")
		gomega.Expect(placed(ctx, s, pod)).To(gomega.Equal(nodes[1]))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.node-affinity",
		Promise: "Required node affinity is obeyed and preferred node affinity decides among the nodes that are left.",
		Source:  assign + "#node-affinity", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		key := "plumbline.dev/" + namespace
		label(ctx, s, nodes[0], key, "a")
		label(ctx, s, nodes[1], key, "b")
		term := func(operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
			return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
		}
		for i, value := range []string{"a", "b"} {
			required := pause(namespace, "not-"+value, func(spec *corev1.PodSpec) {
				spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
					NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: append(
						term(corev1.NodeSelectorOpExists).MatchExpressions, term(corev1.NodeSelectorOpNotIn, value).MatchExpressions...)}},
				}}}
			})
			preferred := pause(namespace, "rather-"+value, func(spec *corev1.PodSpec) {
				spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
					{Weight: 100, Preference: term(corev1.NodeSelectorOpIn, value)},
				}}}
			})
			s.Create(ctx, required)
			gomega.Expect(placed(ctx, s, required)).To(gomega.Equal(nodes[1-i]))
			// The scheduler has seen the labels, or it could not have placed that one.
			s.Create(ctx, preferred)
			gomega.Expect(placed(ctx, s, preferred)).To(gomega.Equal(nodes[i]))
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.taints",
		Promise: "A pod does not go to a node with a NoSchedule taint that it does not tolerate, and may go there if it does.",
		Source:  taints, Judges: scheduler(),
	}, ginkgo.Serial, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		key := "plumbline.dev/" + namespace
		taint := corev1.Taint{Key: key, Value: "x", Effect: corev1.TaintEffectNoSchedule}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodes[0]}}
		suite.Patch(ctx, s, node, func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, taint) })
		ginkgo.DeferCleanup(func(ctx context.Context) {
			suite.Patch(ctx, s, node, func(n *corev1.Node) {
				var kept []corev1.Taint
				for _, t := range n.Spec.Taints {
					if t.Key != key {
						kept = append(kept, t)
					}
				}
				n.Spec.Taints = kept
			})
		})
		bound := func(spec *corev1.PodSpec) { spec.NodeSelector = map[string]string{corev1.LabelHostname: nodes[0]} }
		tolerant := pause(namespace, "tolerant", func(spec *corev1.PodSpec) {
			bound(spec)
			spec.Tolerations = []corev1.Toleration{{Key: key, Operator: corev1.TolerationOpEqual, Value: "x", Effect: corev1.TaintEffectNoSchedule}}
		})
		// The scheduler follows nodes and pods by separate watches: a pod that it places before
		// it has seen the taint proves nothing, so another one is tried.
		tried := 0
		gomega.Eventually(ctx, func() (string, error) {
			tried++
			refused := pause(namespace, fmt.Sprintf("refused-%d", tried), bound)
			if err := s.Client.Create(ctx, refused); err != nil {
				return "", err
			}
			return verdict(ctx, s, refused)
		}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.ContainSubstring("untolerated taint"))
		s.Create(ctx, tolerant)
		gomega.Expect(placed(ctx, s, tolerant)).To(gomega.Equal(nodes[0]))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.host-ports",
		Promise: "Two pods that want the same host port do not share a node; with different protocols or addresses they may.",
		Source:  "https://kubernetes.io/docs/concepts/configuration/overview/#services", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := s.Nodes(ctx, 1)[0]
		wants := func(name string, protocol corev1.Protocol, address string) *corev1.Pod {
			return pause(namespace, name, func(spec *corev1.PodSpec) {
				spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
				spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 54321, Protocol: protocol, HostIP: address}}
			})
		}
		first, udp := wants("first", corev1.ProtocolTCP, "127.0.0.1"), wants("udp", corev1.ProtocolUDP, "127.0.0.1")
		s.Create(ctx, first, udp)
		placed(ctx, s, first)
		placed(ctx, s, udp)
		second, anywhere := wants("second", corev1.ProtocolTCP, "127.0.0.1"), wants("anywhere", corev1.ProtocolTCP, "")
		s.Create(ctx, second, anywhere)
		for _, pod := range []*corev1.Pod{second, anywhere} {
			gomega.Expect(unschedulable(ctx, s, pod)).To(gomega.ContainSubstring("node(s) didn't have free ports for the requested pod ports"))
		}
	})
}
