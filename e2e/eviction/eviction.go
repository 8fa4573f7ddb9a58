// Package eviction holds the specs of pods that are made to leave: through the API under
// a disruption budget, by taints, with their node, and for their node's sake.
package eviction

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const (
	apiEviction = "https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/"
	disruptions = "https://kubernetes.io/docs/concepts/workloads/pods/disruptions/"
	taints      = "https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions"
)

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("eviction", func() {
		budgetSpecs(s)
		drainSpecs(s)
		taintSpecs(s)
		pressureSpecs(s)
		nodeDeathSpecs(s)
	})
}

// evict asks the API to evict a pod.
func evict(ctx context.Context, s *suite.Suite, pod *corev1.Pod) error {
	return s.Clientset.CoreV1().Pods(pod.Namespace).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	})
}

// budget lets at most so many pods with app=name be missing.
func budget(namespace, name string, missing int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(missing)),
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		},
	}
}

// allow waits until a budget allows so many disruptions.
func allow(ctx context.Context, s *suite.Suite, b *policyv1.PodDisruptionBudget, disruptions int32) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Watch.Until(ctx, b, expect.Satisfy(fmt.Sprintf("allow %d disruptions", disruptions), func(b *policyv1.PodDisruptionBudget) string {
		if b.Status.ObservedGeneration < b.Generation || b.Status.DisruptionsAllowed != disruptions {
			return fmt.Sprintf("%+v", b.Status)
		}
		return ""
	}))).To(gomega.Succeed())
}

func budgetSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "eviction.api.budget",
		Promise: "An eviction that a disruption budget does not allow is answered with 429, and granted once the budget allows it.",
		Source:  apiEviction + "#how-api-initiated-eviction-works", Judges: []string{"kube-apiserver", "kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 2, suite.ServingContainer())
		s.CreateRolledOut(ctx, deployment)
		b := budget(namespace, "web", 0)
		s.Create(ctx, b)
		allow(ctx, s, b, 0)
		pods := s.PodsOf(ctx, namespace, "web")

		err := evict(ctx, s, &pods[0])
		gomega.Expect(apierrors.IsTooManyRequests(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause)).To(gomega.BeTrue(), "%#v", err)
		gomega.Expect(err.Error()).To(gomega.Equal("Cannot evict pod as it would violate the pod's disruption budget."))
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(&pods[0]), &pods[0])).To(gomega.Succeed())
		gomega.Expect(pods[0].DeletionTimestamp).To(gomega.BeNil())

		suite.Patch(ctx, s, b, func(b *policyv1.PodDisruptionBudget) { b.Spec.MaxUnavailable = ptr.To(intstr.FromInt32(1)) })
		allow(ctx, s, b, 1)
		gomega.Expect(evict(ctx, s, &pods[0])).To(gomega.Succeed())
		gomega.Expect(s.Watch.Gone(ctx, &pods[0])).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "eviction.api.budget.no-overdraft",
		Promise: "Evictions that are asked for at once do not together disrupt more than the budget allows.",
		Source:  disruptions + "#pod-disruption-budgets", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 4, suite.ServingContainer())
		// Pods that take a while to go, so that no replacement is ready before all were asked.
		deployment.Spec.Template.Spec.Containers[0].Args = []string{"serve", "--ready-after=3s"}
		s.CreateRolledOut(ctx, deployment)
		b := budget(namespace, "web", 1)
		s.Create(ctx, b)
		allow(ctx, s, b, 1)
		pods := s.PodsOf(ctx, namespace, "web")
		answers := make(chan error, len(pods))
		for i := range pods {
			go func() { answers <- evict(ctx, s, &pods[i]) }()
		}
		granted := 0
		for range pods {
			if err := <-answers; err == nil {
				granted++
			} else {
				gomega.Expect(apierrors.IsTooManyRequests(err)).To(gomega.BeTrue(), "%v", err)
			}
		}
		gomega.Expect(granted).To(gomega.Equal(1))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "eviction.api.unbudgeted",
		Promise: "An eviction without a budget is a deletion, with the grace period that was asked for and the condition DisruptionTarget.",
		Source:  disruptions + "#pod-disruption-conditions", Judges: []string{"kube-apiserver", "kubelet"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		pod := suite.Pod(namespace, "lone", suite.AgentContainer("pause"))
		pod.Finalizers = []string{"plumbline.dev/look"}
		s.CreateReady(ctx, pod)
		gomega.Expect(evict(ctx, s, pod)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, pod, expect.HaveCondition(string(corev1.DisruptionTarget), corev1.ConditionTrue))).To(gomega.Succeed())
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.DisruptionTarget {
				gomega.Expect(condition.Reason).To(gomega.Equal("EvictionByEvictionAPI"))
			}
		}
		gomega.Expect(pod.DeletionTimestamp).NotTo(gomega.BeNil())
		suite.Patch(ctx, s, pod, func(p *corev1.Pod) { p.Finalizers = nil })
		gomega.Expect(s.Watch.Gone(ctx, pod)).To(gomega.Succeed())
	})
}

func drainSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "eviction.drain",
		Promise: "kubectl drain empties a node of all but DaemonSet pods, never below a disruption budget, and marks it unschedulable.",
		Source:  "https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/", Judges: []string{"kube-apiserver", "kube-controller-manager", "kubelet"},
	}, ginkgo.Serial, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		// Drain looks into all namespaces, where pods of other specs may still be going.
		const app = "drained"
		deployment := suite.Deployment(namespace, app, 2, suite.ServingContainer())
		s.CreateRolledOut(ctx, deployment)
		b := budget(namespace, app, 1)
		s.Create(ctx, b)
		allow(ctx, s, b, 1)
		drained := s.PodsOf(ctx, namespace, app)[0].Spec.NodeName
		history, err := s.Watch.Record(ctx, expect.Source{List: &corev1.PodList{}, Options: []client.ListOption{client.InNamespace(namespace)}})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		ginkgo.DeferCleanup(history.Close)
		ginkgo.DeferCleanup(func(ctx context.Context) { s.Kubectl(ctx, "uncordon", drained) })
		s.Kubectl(ctx, "drain", drained, "--ignore-daemonsets", "--pod-selector=app="+app, "--timeout=60s")

		for _, pod := range s.PodsOf(ctx, namespace, app) {
			gomega.Expect(pod.Spec.NodeName).NotTo(gomega.Equal(drained), "%s", pod.Name)
		}
		var node corev1.Node
		gomega.Expect(s.Client.Get(ctx, client.ObjectKey{Name: drained}, &node)).To(gomega.Succeed())
		gomega.Expect(node.Spec.Unschedulable).To(gomega.BeTrue())
		gomega.Expect(s.Watch.Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed(), "on %d nodes less one", len(nodes))
		gomega.Expect(history.Judge(ctx, func(state expect.State) error {
			ready := 0
			for _, pod := range expect.Of[*corev1.Pod](state) {
				for _, condition := range pod.Status.Conditions {
					if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
						ready++
					}
				}
			}
			if ready < 1 {
				return fmt.Errorf("%d pods are ready; the budget promises 1", ready)
			}
			return nil
		})).To(gomega.Succeed())
	})
}
