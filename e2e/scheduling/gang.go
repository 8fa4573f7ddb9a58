package scheduling

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
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

const (
	gangs     = "https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/"
	groups    = "https://kubernetes.io/docs/concepts/workloads/podgroup-api/"
	workloads = "https://kubernetes.io/docs/concepts/workloads/workload-api/"
)

// withGroups is the cluster under test where it serves pod groups. They are off by default: where it does not, a cluster
// is booted that does.
func withGroups(ctx context.Context, under *suite.Suite) *suite.Suite {
	ginkgo.GinkgoHelper()
	_, err := under.Clientset.Discovery().ServerResourcesForGroupVersion(schedulingv1beta1.SchemeGroupVersion.String())
	if !apierrors.IsNotFound(err) {
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		return under
	}
	const gate = "--feature-gates=GenericWorkload=true"
	description := own.Describe("gang", 1)
	description.Spec.Components = map[string]v1alpha1.Component{
		cluster.APIServer:         {Args: []string{gate, "--runtime-config=scheduling.k8s.io/v1beta1=true"}},
		cluster.ControllerManager: {Args: []string{gate}},
		cluster.Scheduler:         {Args: []string{gate}},
	}
	s, _ := own.Boot(ctx, under, description)
	return s
}

// newGang makes a group of which so many pods are needed.
func newGang(ctx context.Context, s *suite.Suite, namespace string, needed int32) *schedulingv1beta1.PodGroup {
	ginkgo.GinkgoHelper()
	group := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gang"}}
	group.Spec.SchedulingPolicy.Gang = &schedulingv1beta1.GangSchedulingPolicy{MinCount: needed}
	s.Create(ctx, group)
	return group
}

// member is a pod of a group.
func member(group *schedulingv1beta1.PodGroup, name string, request corev1.ResourceList) *corev1.Pod {
	return pause(group.Namespace, name, func(spec *corev1.PodSpec) {
		spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: ptr.To(group.Name)}
		spec.Containers[0].Resources.Limits = request
	})
}

// heldRoom has a node offer so much of an extended resource, of which a pod holds one.
func heldRoom(ctx context.Context, s *suite.Suite, namespace string, extended corev1.ResourceName, amount string) (node string, holder *corev1.Pod) {
	ginkgo.GinkgoHelper()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.Nodes(ctx, 1)[0]}}
	offer(ctx, s, object, extended, amount)
	holder = pause(namespace, "holder", func(spec *corev1.PodSpec) {
		spec.Containers[0].Resources.Limits = corev1.ResourceList{extended: resource.MustParse("1")}
	})
	s.Create(ctx, holder)
	placed(ctx, s, holder)
	return object.Name, holder
}

// gangSpecs share one cluster, since pod groups are off by default.
func gangSpecs(under *suite.Suite) {
	ginkgo.Describe("pod groups", ginkgo.Ordered, ginkgo.ContinueOnFailure, ginkgo.Serial, ginkgo.Label(own.Label), func() {
		s := &suite.Suite{}
		ginkgo.BeforeAll(func(ctx context.Context) { *s = *withGroups(ctx, under) })
		gangSchedulingSpecs(s)
		groupSpecs(s)
	})
}

func gangSchedulingSpecs(s *suite.Suite) {
	unplaced := func(ctx context.Context, pods ...*corev1.Pod) {
		ginkgo.GinkgoHelper()
		for _, pod := range pods {
			gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(gomega.Succeed())
			gomega.Expect(pod.Spec.NodeName).To(gomega.BeEmpty(), pod.Name)
		}
	}

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.gang.complete",
		Promise: "No pod of a gang is bound before as many as the gang needs exist; then all are.",
		Source:  gangs, Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		group := newGang(ctx, s, namespace, 3)
		first, second, third := member(group, "first", nil), member(group, "second", nil), member(group, "third", nil)
		s.Create(ctx, first, second)
		// A pod that came after them has been through the scheduler.
		after := pause(namespace, "after", nil)
		s.Create(ctx, after)
		placed(ctx, s, after)
		unplaced(ctx, first, second)
		s.Create(ctx, third)
		for _, pod := range []*corev1.Pod{first, second, third} {
			placed(ctx, s, pod)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.gang.all-or-none",
		Promise: "While there is room for fewer pods of a gang than it needs, none is bound; when there is enough, all are.",
		Source:  gangs, Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		group := newGang(ctx, s, namespace, 3)
		extended := corev1.ResourceName("plumbline.dev/" + namespace)
		node, holder := heldRoom(ctx, s, namespace, extended, "3")
		one := corev1.ResourceList{extended: resource.MustParse("1")}
		pods := []*corev1.Pod{member(group, "first", one), member(group, "second", one), member(group, "third", one)}
		for _, pod := range pods {
			s.Create(ctx, pod)
		}
		unschedulable(ctx, s, pods[2])
		unplaced(ctx, pods...)
		s.Delete(ctx, holder, metav1.DeletePropagationBackground)
		for _, pod := range pods {
			gomega.Expect(placed(ctx, s, pod)).To(gomega.Equal(node))
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.gang.condition",
		Promise: "A pod group's condition PodGroupInitiallyScheduled is False while there is no room for the pods it needs, is True once they have nodes, and stays True when they are gone.",
		Source:  groups + "lifecycle/", Judges: scheduler(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		group := newGang(ctx, s, namespace, 2)
		extended := corev1.ResourceName("plumbline.dev/" + namespace)
		_, holder := heldRoom(ctx, s, namespace, extended, "2")
		one := corev1.ResourceList{extended: resource.MustParse("1")}
		first, second := member(group, "first", one), member(group, "second", one)
		s.Create(ctx, first, second)
		const condition = schedulingv1beta1.PodGroupInitiallyScheduled
		gomega.Expect(s.Watch.Until(ctx, group, expect.HaveCondition(condition, metav1.ConditionFalse))).To(gomega.Succeed())
		s.Delete(ctx, holder, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, group, expect.HaveCondition(condition, metav1.ConditionTrue))).To(gomega.Succeed())
		for _, pod := range []*corev1.Pod{first, second} {
			placed(ctx, s, pod)
			s.Delete(ctx, pod, metav1.DeletePropagationBackground)
			gomega.Expect(s.Watch.Gone(ctx, pod)).To(gomega.Succeed())
		}
		three := corev1.ResourceList{extended: resource.MustParse("3")}
		third, fourth := member(group, "third", three), member(group, "fourth", three)
		s.Create(ctx, third, fourth)
		unschedulable(ctx, s, third)
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(group), group)).To(gomega.Succeed())
		gomega.Expect(meta.IsStatusConditionTrue(group.Status.Conditions, condition)).To(gomega.BeTrue())
	})
}

// groupSpecs are about the objects themselves.
func groupSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.podgroup.kept",
		Promise: "A pod group that is deleted is kept until the last of its pods has ended or is gone.",
		Source:  groups + "lifecycle/", Judges: []string{"kube-apiserver", "kube-controller-manager"},
	}, func(ctx context.Context) {
		group := newGang(ctx, s, s.Namespace(ctx), 1)
		pod := member(group, "last", nil)
		s.Create(ctx, pod)
		placed(ctx, s, pod)
		s.Delete(ctx, group, metav1.DeletePropagationBackground)
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(group), group)).To(gomega.Succeed())
		gomega.Expect(group.DeletionTimestamp).NotTo(gomega.BeNil())
		s.Delete(ctx, pod, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, group)).To(gomega.Succeed())
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod); !apierrors.IsNotFound(err) {
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			gomega.Expect(pod.Status.Phase).To(gomega.BeElementOf(corev1.PodSucceeded, corev1.PodFailed), "the group was gone before its pod had ended")
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.podgroup.policy",
		Promise: "A pod group has one scheduling policy, which it keeps; how many pods a gang needs may change.",
		Source:  groups, Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		none := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "none"}}
		gomega.Expect(s.Client.Create(ctx, none)).To(gomega.MatchError(gomega.ContainSubstring("spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`")))

		group := newGang(ctx, s, namespace, 2)
		gomega.Expect(group.Spec.DisruptionMode).To(gomega.Equal(&schedulingv1beta1.DisruptionMode{Single: &schedulingv1beta1.SingleDisruptionMode{}}))
		gomega.Expect(group.Spec.Priority).To(gomega.HaveValue(gomega.BeZero()))
		suite.Patch(ctx, s, group, func(g *schedulingv1beta1.PodGroup) { g.Spec.SchedulingPolicy.Gang.MinCount = 3 })

		basic := group.DeepCopy()
		basic.Spec.SchedulingPolicy = schedulingv1beta1.PodGroupSchedulingPolicy{Basic: &schedulingv1beta1.BasicSchedulingPolicy{}}
		gomega.Expect(s.Client.Update(ctx, basic)).To(gomega.MatchError(gomega.And(
			gomega.ContainSubstring("spec.schedulingPolicy.basic: Invalid value: null: field is immutable"),
			gomega.ContainSubstring("spec.schedulingPolicy.gang: Invalid value: null: field cannot be cleared once set"))))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.podgroup.member",
		Promise: "A pod stays in the group that it was created in.",
		Source:  groups + "lifecycle/", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		group := newGang(ctx, s, s.Namespace(ctx), 2)
		pod := member(group, "first", nil)
		s.Create(ctx, pod)
		gomega.Expect(pod.Spec.SchedulingGroup).To(gomega.Equal(&corev1.PodSchedulingGroup{PodGroupName: ptr.To("gang")}))
		before := pod.DeepCopy()
		pod.Spec.SchedulingGroup.PodGroupName = ptr.To("another")
		gomega.Expect(s.Client.Patch(ctx, pod, client.MergeFrom(before))).To(gomega.MatchError(gomega.ContainSubstring("spec: Forbidden: pod updates may not change fields")))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.workload.templates",
		Promise: "A Workload's templates have names of their own; none is added or removed once it is created.",
		Source:  workloads, Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		template := func(name string) schedulingv1beta1.PodGroupTemplate {
			return schedulingv1beta1.PodGroupTemplate{Name: name, SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Basic: &schedulingv1beta1.BasicSchedulingPolicy{}}}
		}
		workload := &schedulingv1beta1.Workload{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace(ctx), Name: "training"},
			Spec:       schedulingv1beta1.WorkloadSpec{PodGroupTemplates: []schedulingv1beta1.PodGroupTemplate{template("driver"), template("driver")}},
		}
		gomega.Expect(s.Client.Create(ctx, workload)).To(gomega.MatchError(gomega.ContainSubstring("spec.podGroupTemplates[1]: Duplicate value")))
		workload.Spec.PodGroupTemplates[1].Name = "worker"
		s.Create(ctx, workload)
		workload.Spec.PodGroupTemplates[1].Name = "another"
		gomega.Expect(s.Client.Update(ctx, workload)).To(gomega.MatchError(gomega.And(
			gomega.ContainSubstring("spec.podGroupTemplates[1]: Forbidden: item may not be added"),
			gomega.ContainSubstring("spec.podGroupTemplates: Forbidden: item may not be removed"))))
	})
}
