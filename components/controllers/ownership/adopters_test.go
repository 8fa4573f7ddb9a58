package ownership

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

func TestAdopters(t *testing.T) {
	set := func(namespace, name string, selector *metav1.LabelSelector) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: appsv1.ReplicaSetSpec{Selector: selector}}
	}
	web := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	sets := []*appsv1.ReplicaSet{
		set("here", "web", web), set("there", "elsewhere", web), set("here", "everything", &metav1.LabelSelector{}), set("here", "nothing", nil),
		set("here", "broken", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}}),
		set("here", "unlabelled", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpDoesNotExist}}}),
	}
	for what, c := range map[string]struct {
		labels map[string]string
		owner  *metav1.OwnerReference
		want   []cache.ObjectName
	}{
		"an orphan":                  {map[string]string{"app": "web"}, nil, []cache.ObjectName{{Namespace: "here", Name: "web"}}},
		"one that an owner knows of": {map[string]string{"app": "web"}, &metav1.OwnerReference{Name: "other"}, []cache.ObjectName{{Namespace: "here", Name: "web"}}},
		"one that is controlled":     {map[string]string{"app": "web"}, &metav1.OwnerReference{Name: "other", Controller: ptr.To(true)}, nil},
		"one without labels":         {nil, nil, nil},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "here", Labels: c.labels}}
		if c.owner != nil {
			pod.OwnerReferences = []metav1.OwnerReference{*c.owner}
		}
		got := Adopters(pod, sets, func(set *appsv1.ReplicaSet) *metav1.LabelSelector { return set.Spec.Selector })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}
