package priority

import (
	"context"
	"strings"
	"testing"

	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"
)

func TestPodGroupsGetTheirPriority(t *testing.T) {
	high := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 7}
	usual := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 3, GlobalDefault: true}
	plugin := New(Classes{
		Get: func(_ context.Context, _, name string) (*schedulingv1.PriorityClass, error) {
			if name == high.Name {
				return high, nil
			}
			return nil, apierrors.NewNotFound(schedulingv1.Resource("priorityclasses"), name)
		},
		List: func(context.Context, string) ([]*schedulingv1.PriorityClass, error) {
			return []*schedulingv1.PriorityClass{high, usual}, nil
		},
	})
	for name, test := range map[string]struct {
		spec  schedulingv1beta1.PodGroupSpec
		class string
		value int32
		err   string
	}{
		"of its class":   {spec: schedulingv1beta1.PodGroupSpec{PriorityClassName: "high"}, class: "high", value: 7},
		"of the default": {class: "usual", value: 3},
		"the same":       {spec: schedulingv1beta1.PodGroupSpec{Priority: ptr.To[int32](3)}, class: "usual", value: 3},
		"another": {spec: schedulingv1beta1.PodGroupSpec{PriorityClassName: "high", Priority: ptr.To[int32](8)},
			err: "priority set in the pod group (8) must match the priority computed (7) based on the priority class set in the spec"},
		"of no class": {spec: schedulingv1beta1.PodGroupSpec{PriorityClassName: "none"}, err: "no PriorityClass with name none was found"},
	} {
		t.Run(name, func(t *testing.T) {
			group := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "g"}, Spec: test.spec}
			version := schedulingv1beta1.SchemeGroupVersion
			err := plugin.Admit(t.Context(), admission.NewAttributesRecord(group, nil, version.WithKind("PodGroup"), "ns", "g",
				version.WithResource("podgroups"), "", admission.Create, nil, false, nil), nil)
			switch {
			case test.err != "":
				if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
			case err != nil:
				t.Error(err)
			case group.Spec.PriorityClassName != test.class || ptr.Deref(group.Spec.Priority, -1) != test.value:
				t.Errorf("got class %q and priority %v, want %q and %d", group.Spec.PriorityClassName, group.Spec.Priority, test.class, test.value)
			}
		})
	}
}
