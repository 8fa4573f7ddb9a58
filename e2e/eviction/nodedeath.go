package eviction

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/own"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
)

// silence is how long a node of the cluster below may be silent. A kubelet renews its
// lease every ten seconds.
const silence = 16 * time.Second

func nodeDeathSpecs(under *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "eviction.node-death",
		Promise: "A node that falls silent becomes unreachable, and pods that tolerate this for a time are replaced on another node after that time.",
		Source:  taints, Judges: []string{"kube-controller-manager", "kube-scheduler"},
	}, ginkgo.Serial, ginkgo.Label(own.Label), func(ctx context.Context) {
		description := own.Describe("death", 2)
		description.Spec.Components = map[string]v1alpha1.Component{cluster.ControllerManager: {Args: []string{
			"--node-monitor-period=500ms", fmt.Sprintf("--node-monitor-grace-period=%s", silence),
		}}}
		s, c := own.Boot(ctx, under, description)
		namespace := s.Namespace(ctx)
		const patience = 2
		deployment := suite.Deployment(namespace, "web", 2, suite.ServingContainer())
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			deployment.Spec.Template.Spec.Tolerations = append(deployment.Spec.Template.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](patience),
			})
		}
		s.CreateRolledOut(ctx, deployment)
		victim := s.PodsOf(ctx, namespace, "web")[0]
		dead := victim.Spec.NodeName
		gomega.Expect(c.KillMachine(dead)).To(gomega.Succeed())

		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: dead}}
		patient := s.Watch.Within(expect.Long)
		gomega.Expect(patient.Until(ctx, node, expect.HaveCondition(string(corev1.NodeReady), corev1.ConditionUnknown))).To(gomega.Succeed())
		unreachable := time.Now()
		gomega.Expect(patient.Until(ctx, node, haveTaint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute, true))).To(gomega.Succeed())
		gomega.Expect(patient.Until(ctx, &victim, expect.BeTerminating())).To(gomega.Succeed())
		gomega.Expect(time.Since(unreachable)).To(gomega.BeNumerically(">", (patience-1)*time.Second), "the pods' tolerationSeconds")

		// Nobody is left to confirm the old pods' end: they stay, terminating, and do not count.
		gomega.Expect(patient.UntilList(ctx, &corev1.PodList{}, expect.Satisfy("hold 2 ready pods elsewhere", func(list *corev1.PodList) string {
			ready := 0
			for i := range list.Items {
				pod := &list.Items[i]
				if ok, _ := expect.BeReady().Match(pod); ok && pod.Spec.NodeName != dead && pod.DeletionTimestamp == nil {
					ready++
				}
			}
			if ready != 2 {
				return fmt.Sprintf("%d are", ready)
			}
			return ""
		}), client.InNamespace(namespace), client.MatchingLabels{"app": "web"})).To(gomega.Succeed())
		gomega.Expect(patient.Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
	})
}

// haveTaint asks of a node that it has a taint, or has it not.
func haveTaint(key string, effect corev1.TaintEffect, wanted bool) gomegatypes.GomegaMatcher {
	what := "have"
	if !wanted {
		what = "not have"
	}
	return expect.Satisfy(fmt.Sprintf("%s taint %s:%s", what, key, effect), func(node *corev1.Node) string {
		found := false
		for _, taint := range node.Spec.Taints {
			found = found || taint.Key == key && taint.Effect == effect
		}
		if found != wanted {
			return fmt.Sprintf("its taints are %v", node.Spec.Taints)
		}
		return ""
	})
}
