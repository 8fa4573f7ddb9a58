package scheduling

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

const gangs = "https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/"

// newGang makes a group of which so many pods are needed. The API is off by default: where it is, the spec is skipped.
func newGang(ctx context.Context, s *suite.Suite, namespace string, needed int32) string {
	ginkgo.GinkgoHelper()
	_, err := s.Clientset.Discovery().ServerResourcesForGroupVersion(schedulingv1beta1.SchemeGroupVersion.String())
	if apierrors.IsNotFound(err) {
		ginkgo.Skip("needs pod groups, which are off by default: the feature gate GenericWorkload and --runtime-config=scheduling.k8s.io/v1beta1=true; the API server says: " + err.Error())
	}
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	group := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gang"}}
	group.Spec.SchedulingPolicy.Gang = &schedulingv1beta1.GangSchedulingPolicy{MinCount: needed}
	s.Create(ctx, group)
	return group.Name
}

func gangSpecs(s *suite.Suite) {
	member := func(namespace, name, group string, request corev1.ResourceList) *corev1.Pod {
		return pause(namespace, name, func(spec *corev1.PodSpec) {
			spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: ptr.To(group)}
			spec.Containers[0].Resources.Limits = request
		})
	}
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
		first, second, third := member(namespace, "first", group, nil), member(namespace, "second", group, nil), member(namespace, "third", group, nil)
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
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.Nodes(ctx, 1)[0]}}
		extended := corev1.ResourceName("plumbline.dev/" + namespace)
		offer(ctx, s, node, extended, "3")
		one := corev1.ResourceList{extended: resource.MustParse("1")}
		holder := pause(namespace, "holder", func(spec *corev1.PodSpec) { spec.Containers[0].Resources.Limits = one })
		s.Create(ctx, holder)
		placed(ctx, s, holder)
		pods := []*corev1.Pod{member(namespace, "first", group, one), member(namespace, "second", group, one), member(namespace, "third", group, one)}
		for _, pod := range pods {
			s.Create(ctx, pod)
		}
		unschedulable(ctx, s, pods[2])
		unplaced(ctx, pods...)
		s.Delete(ctx, holder, metav1.DeletePropagationBackground)
		for _, pod := range pods {
			gomega.Expect(placed(ctx, s, pod)).To(gomega.Equal(node.Name))
		}
	})
}
