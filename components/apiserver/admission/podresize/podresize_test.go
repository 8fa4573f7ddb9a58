package podresize

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
)

func TestValidate(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n"},
		Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}},
	}
	windows := node.DeepCopy()
	windows.Labels = map[string]string{corev1.LabelOSStable: "windows"}
	tests := []struct {
		name       string
		node       *corev1.Node
		cpu        string
		generation int64
		cause      metav1.CauseType
		want       string
	}{
		{"fits", node, "2", 2, "", ""},
		{"too big", node, "2500m", 2, NodeCapacity, "node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000"},
		{"unchanged", node, "2500m", 1, "", ""},
		{"not Linux", windows, "1", 2, UnsupportedPlatform, `pod resize is only supported on linux nodes, node "n" is "windows"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 1}, Spec: corev1.PodSpec{NodeName: "n"}}
			pod := old.DeepCopy()
			pod.Generation = test.generation
			pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(test.cpu)}}}}
			plugin := New(func(context.Context, string, string) (*corev1.Node, error) { return test.node, nil })
			err := plugin.Validate(context.Background(), admission.NewAttributesRecord(pod, old, corev1.SchemeGroupVersion.WithKind("Pod"), "ns", "p",
				corev1.SchemeGroupVersion.WithResource("pods"), "resize", admission.Update, nil, false, nil), nil)
			if test.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var status *apierrors.StatusError
			if !errors.As(err, &status) || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want it forbidden with %q", err, test.want)
			}
			if causes := status.ErrStatus.Details.Causes; len(causes) != 1 || causes[0].Type != test.cause {
				t.Errorf("causes %v, want %s", causes, test.cause)
			}
		})
	}
}
