package resource

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestSharing(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := RegisterHub(scheme, "", "Pod", new(corev1.Pod)); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "b"}}}
	untyped := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "web"}}}
	hub := schema.GroupVersion{Version: runtime.APIVersionInternal}
	for _, test := range []struct {
		name string
		in   runtime.Object
		to   schema.GroupVersion
	}{
		{"the version", pod, corev1.SchemeGroupVersion},
		{"the hub", pod, hub},
		{"of JSON", untyped, corev1.SchemeGroupVersion},
		{"a version that is not there", pod, schema.GroupVersion{Group: "apps", Version: "v1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := test.in.DeepCopyObject()
			want, wantErr := scheme.ConvertToVersion(test.in, test.to)
			got, err := Sharing{scheme}.ConvertToVersion(test.in, test.to)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("got the error %v, want %v", err, wantErr)
			}
			if !equality.Semantic.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if !equality.Semantic.DeepEqual(test.in, before) {
				t.Errorf("what was converted became %v", test.in)
			}
		})
	}
}
