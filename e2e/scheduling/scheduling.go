// Package scheduling holds the specs of the scheduler: where pods go, and why some stay.
package scheduling

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const (
	assign     = "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/"
	taints     = "https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"
	spread     = "https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"
	preemption = "https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/"
	readiness  = "https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/"
	resources  = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#how-pods-with-resource-requests-are-scheduled"
)

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("scheduling", func() {
		selectionSpecs(s)
		affinitySpecs(s)
		pendingSpecs(s)
		preemptionSpecs(s)
		claimSpecs(s)
		gangSpecs(s)
	})
}

func scheduler() []string { return []string{"kube-scheduler"} }

// pause is a pod that only takes its place.
func pause(namespace, name string, change func(*corev1.PodSpec)) *corev1.Pod {
	pod := suite.Pod(namespace, name, corev1.Container{Name: "pause", Image: suite.Pause})
	if change != nil {
		change(&pod.Spec)
	}
	return pod
}

// placed waits until a pod is bound and says where.
func placed(ctx context.Context, s *suite.Suite, pod *corev1.Pod) string {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Watch.Until(ctx, pod, expect.BeScheduled())).To(gomega.Succeed())
	return pod.Spec.NodeName
}

// unschedulable waits until the scheduler has said of a pod that it fits nowhere, and
// returns its words.
func unschedulable(ctx context.Context, s *suite.Suite, pod *corev1.Pod) string {
	ginkgo.GinkgoHelper()
	var message string
	gomega.Expect(s.Watch.Until(ctx, pod, expect.Satisfy("be reported as unschedulable", func(p *corev1.Pod) string {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				message = c.Message
				return ""
			}
		}
		return fmt.Sprintf("node %q, conditions %v", p.Spec.NodeName, p.Status.Conditions)
	}))).To(gomega.Succeed())
	return message
}

// verdict waits for the scheduler's decision on a pod: the node it chose, or why none.
func verdict(ctx context.Context, s *suite.Suite, pod *corev1.Pod) (string, error) {
	var words string
	err := s.Watch.Until(ctx, pod, expect.Satisfy("be decided upon", func(p *corev1.Pod) string {
		if words = p.Spec.NodeName; words != "" {
			return ""
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				words = c.Message
				return ""
			}
		}
		return "it is not"
	}))
	return words, err
}

// label marks a node for the spec's time.
func label(ctx context.Context, s *suite.Suite, node, key, value string) {
	ginkgo.GinkgoHelper()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	suite.Patch(ctx, s, object, func(n *corev1.Node) { n.Labels[key] = value })
	ginkgo.DeferCleanup(func(ctx context.Context) {
		suite.Patch(ctx, s, object, func(n *corev1.Node) { delete(n.Labels, key) })
	})
}

// offer gives a node an extended resource for the spec's time.
func offer(ctx context.Context, s *suite.Suite, node *corev1.Node, name corev1.ResourceName, amount string) {
	ginkgo.GinkgoHelper()
	set := func(ctx context.Context, change func(*corev1.Node)) {
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(node), node)).To(gomega.Succeed())
		before := node.DeepCopy()
		change(node)
		gomega.Expect(s.Client.Status().Patch(ctx, node, client.MergeFrom(before))).To(gomega.Succeed())
	}
	set(ctx, func(n *corev1.Node) { n.Status.Capacity[name] = resource.MustParse(amount) })
	ginkgo.DeferCleanup(func(ctx context.Context) {
		set(ctx, func(n *corev1.Node) { delete(n.Status.Capacity, name); delete(n.Status.Allocatable, name) })
	})
	// The kubelet takes an extended resource over from the capacity.
	gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, node, expect.Satisfy("offer "+string(name), func(n *corev1.Node) string {
		quantity := n.Status.Allocatable[name]
		if quantity.String() != amount {
			return fmt.Sprint(n.Status.Allocatable)
		}
		return ""
	}))).To(gomega.Succeed())
}
