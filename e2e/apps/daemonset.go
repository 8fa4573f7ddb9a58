package apps

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const daemonSets = "https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"

// daemonSet is named and labelled "agent" and runs on nodes that have the label.
func daemonSet(namespace, nodeLabel string) *appsv1.DaemonSet {
	template := suite.Deployment(namespace, "agent", 1, suite.ServingContainer()).Spec.Template
	template.Spec.NodeSelector = map[string]string{nodeLabel: "yes"}
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Template: template, Selector: &metav1.LabelSelector{MatchLabels: template.Labels}},
	}
}

// label sets or removes a node's label, and removes it when the spec ends.
func label(ctx context.Context, s *suite.Suite, name, key string, on bool) {
	ginkgo.GinkgoHelper()
	set := func(ctx context.Context, value string) error {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		return s.Client.Patch(ctx, node, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, key, value)))
	}
	value := "null"
	if on {
		value = `"yes"`
		ginkgo.DeferCleanup(func(ctx context.Context) { gomega.Expect(set(ctx, "null")).To(gomega.Succeed()) })
	}
	gomega.Expect(set(ctx, value)).To(gomega.Succeed())
}

// daemonsOn waits until exactly the nodes named have a Ready pod, and returns the pods by node.
func daemonsOn(ctx context.Context, s *suite.Suite, namespace string, nodes ...string) map[string]corev1.Pod {
	ginkgo.GinkgoHelper()
	slices.Sort(nodes)
	byNode := map[string]corev1.Pod{}
	gomega.Expect(s.Watch.UntilList(ctx, &corev1.PodList{}, expect.Satisfy(fmt.Sprintf("be Ready on %v", nodes), func(list *corev1.PodList) string {
		clear(byNode)
		for _, pod := range list.Items {
			if ok, err := expect.BeReady().Match(&pod); err == nil && ok && pod.DeletionTimestamp == nil {
				byNode[pod.Spec.NodeName] = pod
			}
		}
		if got := slices.Sorted(maps.Keys(byNode)); !slices.Equal(got, nodes) || len(list.Items) != len(nodes) {
			return fmt.Sprintf("%d pods, Ready on %v", len(list.Items), got)
		}
		return ""
	}), inNamespace(namespace), labelled("agent"))).To(gomega.Succeed())
	return byNode
}

func daemonSetSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "apps.daemonset.nodes",
		Promise: "A DaemonSet has a pod on every node that its selector matches, also once the node's labels change or the node is cordoned, and replaces one that fails or is deleted.",
		Source:  daemonSets + "#how-daemon-pods-are-scheduled", Judges: []string{"kube-controller-manager", "kube-scheduler"},
	}, func(ctx context.Context) {
		nodes := s.Nodes(ctx, 2)
		namespace := s.Namespace(ctx)
		key := "plumbline.dev/" + namespace
		s.Create(ctx, daemonSet(namespace, key))
		daemonsOn(ctx, s, namespace)
		label(ctx, s, nodes[0], key, true)
		daemonsOn(ctx, s, namespace, nodes[0])
		label(ctx, s, nodes[1], key, true)
		pods := daemonsOn(ctx, s, namespace, nodes[0], nodes[1])
		label(ctx, s, nodes[0], key, false)
		daemonsOn(ctx, s, namespace, nodes[1])

		failed := pods[nodes[1]]
		failed.Status.Phase = corev1.PodFailed
		failed.ResourceVersion = ""
		gomega.Expect(s.Client.Status().Update(ctx, &failed)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Gone(ctx, &failed)).To(gomega.Succeed())
		next := daemonsOn(ctx, s, namespace, nodes[1])[nodes[1]]
		s.Delete(ctx, &next, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, &next)).To(gomega.Succeed())
		daemonsOn(ctx, s, namespace, nodes[1])
		set := daemonSet(namespace, key)
		gomega.Expect(s.Watch.Until(ctx, set, expect.Satisfy("count one pod", func(set *appsv1.DaemonSet) string {
			got := set.Status
			if got.DesiredNumberScheduled != 1 || got.CurrentNumberScheduled != 1 || got.NumberReady != 1 || got.NumberAvailable != 1 || got.NumberMisscheduled != 0 {
				return fmt.Sprintf("%+v", got)
			}
			return ""
		}))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.daemonset.rolling-update",
		Promise: "A rolling update replaces daemon pods without ever having more nodes without one than maxUnavailable; with maxSurge the new pod is there before the old one goes.",
		Source:  "https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		nodes := s.Nodes(ctx, 2)[:2]
		for _, surge := range []bool{false, true} {
			namespace := s.Namespace(ctx)
			key := "plumbline.dev/" + namespace
			for _, node := range nodes {
				label(ctx, s, node, key, true)
			}
			set := daemonSet(namespace, key)
			least := 1
			if surge {
				set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0))}
				least = 2
			}
			s.Create(ctx, set)
			daemonsOn(ctx, s, namespace, nodes...)
			history := record(ctx, s, namespace)
			suite.Patch(ctx, s, set, func(set *appsv1.DaemonSet) { set.Spec.Template.Annotations = map[string]string{"version": "2"} })
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, set, expect.BeRolledOut())).To(gomega.Succeed())
			for _, pod := range daemonsOn(ctx, s, namespace, nodes...) {
				gomega.Expect(pod.Annotations).To(gomega.HaveKeyWithValue("version", "2"))
			}
			gomega.Expect(history.Judge(ctx, func(state expect.State) error {
				served := map[string]bool{}
				for _, pod := range available(state, "agent") {
					served[pod.Spec.NodeName] = true
				}
				if len(served) < least {
					return fmt.Errorf("%d nodes have a Ready pod, at least %d are promised (surge: %v)", len(served), least, surge)
				}
				return nil
			})).To(gomega.Succeed())
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.daemonset.rollback",
		Promise: "A roll-back of an update that got stuck leaves pods alone that were never updated, and goes back to the old revision.",
		Source:  "https://kubernetes.io/docs/tasks/manage-daemon/rollback-daemon-set/", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		nodes := s.Nodes(ctx, 2)[:2]
		namespace := s.Namespace(ctx)
		key := "plumbline.dev/" + namespace
		for _, node := range nodes {
			label(ctx, s, node, key, true)
		}
		set := daemonSet(namespace, key)
		s.Create(ctx, set)
		before := daemonsOn(ctx, s, namespace, nodes...)
		suite.Patch(ctx, s, set, func(set *appsv1.DaemonSet) {
			set.Spec.Template.Spec.Containers[0].Args = []string{"serve", "--ready-after=1h"}
		})
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.PodList{}, expect.Satisfy("hold an updated pod that runs", func(list *corev1.PodList) string {
			for _, pod := range list.Items {
				if len(pod.Spec.Containers[0].Args) == 2 && pod.Status.Phase == corev1.PodRunning {
					return ""
				}
			}
			return "there is none"
		}), inNamespace(namespace), labelled("agent"))).To(gomega.Succeed())
		s.Kubectl(ctx, "-n", namespace, "rollout", "undo", "daemonset/agent")
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, set, expect.BeRolledOut())).To(gomega.Succeed())
		kept := 0
		for node, pod := range daemonsOn(ctx, s, namespace, nodes...) {
			if before[node].UID == pod.UID {
				kept++
			}
		}
		gomega.Expect(kept).To(gomega.Equal(1), "pods that were not replaced")
		var revisions appsv1.ControllerRevisionList
		gomega.Expect(s.Client.List(ctx, &revisions, inNamespace(namespace))).To(gomega.Succeed())
		gomega.Expect(revisions.Items).To(gomega.HaveLen(2), "a roll-back is no new revision")
	})
}
