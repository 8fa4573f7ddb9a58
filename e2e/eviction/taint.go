package eviction

import (
	"context"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func taintSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "eviction.taint.no-execute",
		Promise: "A NoExecute taint ends pods that do not tolerate it at once, those that tolerate it for a time after that time, and leaves the others.",
		Source:  taints, Judges: []string{"kube-controller-manager"},
	}, ginkgo.Serial, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := s.Nodes(ctx, 2)[0]
		const key = "plumbline.dev/e2e"
		tolerating := func(name string, seconds *int64) *corev1.Pod {
			pod := suite.OnNode(suite.Pod(namespace, name, suite.AgentContainer("pause")), node)
			pod.Spec.Tolerations = []corev1.Toleration{{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}}
			return pod
		}
		never := suite.OnNode(suite.Pod(namespace, "never", suite.AgentContainer("pause")), node)
		brief, always := tolerating("brief", ptr.To[int64](3)), tolerating("always", nil)
		s.CreateReady(ctx, never, brief, always)

		taint := func(ctx context.Context, set bool) {
			var object corev1.Node
			object.Name = node
			suite.Patch(ctx, s, &object, func(n *corev1.Node) {
				var kept []corev1.Taint
				for _, t := range n.Spec.Taints {
					if t.Key != key {
						kept = append(kept, t)
					}
				}
				if set {
					kept = append(kept, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute})
				}
				n.Spec.Taints = kept
			})
		}
		ginkgo.DeferCleanup(taint, false)
		tainted := time.Now()
		taint(ctx, true)
		gomega.Expect(s.Watch.Gone(ctx, never)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, brief, expect.BeTerminating())).To(gomega.Succeed())
		gomega.Expect(time.Since(tainted)).To(gomega.BeNumerically(">=", 3*time.Second), "the pod's tolerationSeconds")
		gomega.Expect(s.Watch.Gone(ctx, brief)).To(gomega.Succeed())
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(always), always)).To(gomega.Succeed())
		gomega.Expect(always.DeletionTimestamp).To(gomega.BeNil())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "eviction.taint.default-tolerations",
		Promise: "Pods tolerate an unreachable or not-ready node for 300 seconds unless they say otherwise.",
		Source:  taints, Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		plain := suite.Pod(namespace, "plain", suite.AgentContainer("pause"))
		own := suite.Pod(namespace, "own", suite.AgentContainer("pause"))
		own.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](7)}}
		s.Create(ctx, plain, own)
		seconds := func(pod *corev1.Pod, key string) *int64 {
			for _, t := range pod.Spec.Tolerations {
				if t.Key == key && t.Effect == corev1.TaintEffectNoExecute {
					return t.TolerationSeconds
				}
			}
			return nil
		}
		gomega.Expect(seconds(plain, corev1.TaintNodeNotReady)).To(gomega.HaveValue(gomega.BeEquivalentTo(300)))
		gomega.Expect(seconds(plain, corev1.TaintNodeUnreachable)).To(gomega.HaveValue(gomega.BeEquivalentTo(300)))
		gomega.Expect(seconds(own, corev1.TaintNodeNotReady)).To(gomega.HaveValue(gomega.BeEquivalentTo(7)))
		gomega.Expect(seconds(own, corev1.TaintNodeUnreachable)).To(gomega.HaveValue(gomega.BeEquivalentTo(300)))
	})
}
