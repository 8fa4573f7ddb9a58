package apps

import (
	"context"
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const statefulSets = "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"

// statefulSet is named and labelled "db"; its pods serve, and are ready while /readyz is switched on.
func statefulSet(namespace string, replicas int32) *appsv1.StatefulSet {
	template := suite.Deployment(namespace, "db", replicas, suite.ServingContainer()).Spec.Template
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: "db", Replicas: &replicas, Template: template,
			Selector: &metav1.LabelSelector{MatchLabels: template.Labels},
		},
	}
}

// rolledOut waits until every pod of the set is available and of its newest revision.
func rolledOut(ctx context.Context, s *suite.Suite, set *appsv1.StatefulSet) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, set, expect.Satisfy("be of one revision", func(set *appsv1.StatefulSet) string {
		want, got := ptr.Deref(set.Spec.Replicas, 1), set.Status
		if got.ObservedGeneration < set.Generation || got.Replicas != want || got.AvailableReplicas != want || got.UpdatedReplicas != want || got.CurrentRevision != got.UpdateRevision {
			return fmt.Sprintf("generation %d of %d: %+v", got.ObservedGeneration, set.Generation, got)
		}
		return ""
	}))).To(gomega.Succeed())
}

// versions are the annotations "version" of the pods db-0, db-1, ..., "?" where there is no pod that stays.
func versions(pods []*corev1.Pod, replicas int) []string {
	found := slices.Repeat([]string{"?"}, replicas)
	for _, pod := range pods {
		for i := range found {
			if pod.Name == fmt.Sprintf("db-%d", i) && pod.DeletionTimestamp == nil {
				found[i] = pod.Annotations["version"]
			}
		}
	}
	return found
}

// haveVersions asks of a list of pods that those of the set are of the versions named, and Ready.
func haveVersions(ctx context.Context, s *suite.Suite, namespace string, want ...string) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Watch.Within(expect.Long).UntilList(ctx, &corev1.PodList{}, expect.Satisfy(fmt.Sprintf("be of versions %v", want), func(list *corev1.PodList) string {
		var ready []*corev1.Pod
		for i := range list.Items {
			if ok, err := expect.BeReady().Match(&list.Items[i]); ok && err == nil {
				ready = append(ready, &list.Items[i])
			}
		}
		if got := versions(ready, len(want)); !slices.Equal(got, want) || len(list.Items) != len(want) {
			return fmt.Sprintf("%d pods, ready ones %v", len(list.Items), got)
		}
		return ""
	}), inNamespace(namespace), labelled("db"))).To(gomega.Succeed())
}

// breakReadiness switches a pod's readiness off and waits until that is known.
func breakReadiness(ctx context.Context, s *suite.Suite, namespace, name string) *corev1.Pod {
	ginkgo.GinkgoHelper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
	_ = s.Connect(ctx, pod, suite.URL("127.0.0.1", suite.AgentPort, "/switch/readyz/off"))
	gomega.Expect(s.Watch.Until(ctx, pod, expect.HaveCondition("Ready", corev1.ConditionFalse))).To(gomega.Succeed())
	return pod
}

func statefulSetSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "apps.statefulset.ordered-scaling",
		Promise: "Pods of a StatefulSet are made in the order of their ordinals, each once the one before is Ready, and ended in reverse, each once the one after is gone.",
		Source:  statefulSets + "#deployment-and-scaling-guarantees", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		history := record(ctx, s, namespace)
		set := statefulSet(namespace, 3)
		s.Create(ctx, set)
		rolledOut(ctx, s, set)
		suite.Patch(ctx, s, set, func(set *appsv1.StatefulSet) { set.Spec.Replicas = ptr.To[int32](0) })
		rolledOut(ctx, s, set)
		down := false
		gomega.Expect(history.Judge(ctx, func(state expect.State) error {
			exist, ready := [3]bool{}, [3]bool{}
			for _, pod := range expect.Of[*corev1.Pod](state) {
				for i := range exist {
					if pod.Name == fmt.Sprintf("db-%d", i) {
						exist[i] = true
						ready[i] = len(available(state, "db")) > 0 && slices.Contains(available(state, "db"), pod)
						down = down || pod.DeletionTimestamp != nil
					}
				}
			}
			for i := range 2 {
				if exist[i+1] && !down && !ready[i] {
					return fmt.Errorf("db-%d exists before db-%d is Ready", i+1, i)
				}
				if exist[i+1] && !exist[i] {
					return fmt.Errorf("db-%d is gone before db-%d", i, i+1)
				}
			}
			return nil
		})).To(gomega.Succeed())
		gomega.Expect(down).To(gomega.BeTrue())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.statefulset.halts-when-unhealthy",
		Promise: "An ordered StatefulSet with a pod that is not Ready is scaled no further until it is; one with the policy Parallel is.",
		Source:  statefulSets + "#pod-management-policies", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		for _, policy := range []appsv1.PodManagementPolicyType{appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement} {
			namespace := s.Namespace(ctx)
			set := statefulSet(namespace, 1)
			set.Spec.PodManagementPolicy = policy
			s.Create(ctx, set)
			rolledOut(ctx, s, set)
			broken := breakReadiness(ctx, s, namespace, "db-0")
			// The controller hears of pods and of sets on watches of their own.
			gomega.Expect(s.Watch.Until(ctx, set, expect.Satisfy("have no ready pod", func(set *appsv1.StatefulSet) string {
				if set.Status.ReadyReplicas != 0 {
					return fmt.Sprintf("%d are ready", set.Status.ReadyReplicas)
				}
				return ""
			}))).To(gomega.Succeed())
			suite.Patch(ctx, s, set, func(set *appsv1.StatefulSet) { set.Spec.Replicas = ptr.To[int32](3) })
			last := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db-2"}}
			if policy == appsv1.ParallelPodManagement {
				gomega.Expect(s.Watch.Until(ctx, last, expect.BeReady())).To(gomega.Succeed())
				continue
			}
			gomega.Expect(s.Watch.Until(ctx, set, expect.Satisfy("have been observed", func(set *appsv1.StatefulSet) string {
				if set.Status.ObservedGeneration < set.Generation {
					return fmt.Sprintf("generation %d of %d", set.Status.ObservedGeneration, set.Generation)
				}
				return ""
			}))).To(gomega.Succeed())
			gomega.Expect(s.PodsOf(ctx, namespace, "db")).To(gomega.HaveLen(1))
			_ = s.Connect(ctx, broken, suite.URL("127.0.0.1", suite.AgentPort, "/switch/readyz/on"))
			gomega.Expect(s.Watch.Until(ctx, last, expect.BeReady())).To(gomega.Succeed())
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.statefulset.partition",
		Promise: "A rolling update replaces the pods from the highest ordinal down to the partition; below it, a pod that is lost comes back as it was.",
		Source:  statefulSets + "#partitions", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		set := statefulSet(namespace, 3)
		set.Spec.Template.Annotations = map[string]string{"version": "1"}
		set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](2)}
		s.Create(ctx, set)
		rolledOut(ctx, s, set)
		first := set.Status.CurrentRevision
		suite.Patch(ctx, s, set, func(set *appsv1.StatefulSet) { set.Spec.Template.Annotations["version"] = "2" })
		haveVersions(ctx, s, namespace, "1", "1", "2")
		for _, name := range []string{"db-0", "db-2"} {
			s.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, metav1.DeletePropagationBackground)
		}
		haveVersions(ctx, s, namespace, "1", "1", "2")
		suite.Patch(ctx, s, set, func(set *appsv1.StatefulSet) { set.Spec.UpdateStrategy.RollingUpdate.Partition = ptr.To[int32](0) })
		haveVersions(ctx, s, namespace, "2", "2", "2")
		rolledOut(ctx, s, set)
		gomega.Expect(set.Status.CurrentRevision).NotTo(gomega.Equal(first))
		// A template that was there before is a roll-back to its revision, not a new one.
		suite.Patch(ctx, s, set, func(set *appsv1.StatefulSet) { set.Spec.Template.Annotations["version"] = "1" })
		haveVersions(ctx, s, namespace, "1", "1", "1")
		rolledOut(ctx, s, set)
		gomega.Expect(set.Status.CurrentRevision).To(gomega.Equal(first))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.statefulset.parallel-update-of-broken-pods",
		Promise: "A StatefulSet with the policy Parallel replaces broken pods of an old revision at once, so an update mends what it was made to mend.",
		Source:  statefulSets + "#maximum-unavailable-pods", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		set := statefulSet(namespace, 2)
		set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		set.Spec.Template.Annotations = map[string]string{"version": "broken"}
		set.Spec.Template.Spec.Containers[0].Args = []string{"serve", "--ready-after=1h"}
		s.Create(ctx, set)
		for _, name := range []string{"db-0", "db-1"} {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
			gomega.Expect(s.Watch.Until(ctx, pod, expect.BeRunning())).To(gomega.Succeed())
		}
		suite.Patch(ctx, s, set, func(set *appsv1.StatefulSet) {
			set.Spec.Template.Annotations["version"] = "mended"
			set.Spec.Template.Spec.Containers[0].Args = []string{"serve"}
		})
		haveVersions(ctx, s, namespace, "mended", "mended")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.statefulset.ended-pod",
		Promise: "A pod of a StatefulSet that has ended is replaced by one of the same name.",
		Source:  statefulSets + "#pod-identity", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		set := statefulSet(namespace, 1)
		s.Create(ctx, set)
		rolledOut(ctx, s, set)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db-0"}}
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(gomega.Succeed())
		old := pod.UID
		pod.Status.Phase = corev1.PodFailed
		gomega.Expect(s.Client.Status().Update(ctx, pod)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, pod, expect.Satisfy("be another, and Ready", func(pod *corev1.Pod) string {
			if pod.UID == old {
				return "it is the pod that ended"
			}
			if ok, err := expect.BeReady().Match(pod); err != nil || !ok {
				return "it is not Ready"
			}
			return ""
		}))).To(gomega.Succeed())
	})
}
