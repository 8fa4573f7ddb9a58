package openapi

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

func pod(env ...string) *v1.Pod {
	p := &v1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "i", Ports: []v1.ContainerPort{{ContainerPort: 80, Protocol: v1.ProtocolTCP}}}}},
	}
	for _, name := range env {
		p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, v1.EnvVar{Name: name, Value: "v"})
	}
	return p
}

func TestWhatIsNotValidatedIsTheSame(t *testing.T) {
	converter := NewTypeConverter(NewPublisher(scheme.Scheme))
	convert := func(p *v1.Pod, options ...typed.ValidationOptions) *typed.TypedValue {
		t.Helper()
		value, err := converter.ObjectToTyped(p, options...)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	validated := convert(pod("x", "y"), typed.AllowDuplicates) // the first of its type
	unvalidated := convert(pod("x", "y"), typed.AllowDuplicates)
	want, err := validated.ToFieldSet()
	if err != nil {
		t.Fatal(err)
	}
	got, err := unvalidated.ToFieldSet()
	if err != nil {
		t.Fatal(err)
	}
	if !got.Equals(want) {
		t.Errorf("fields %v, want %v", got, want)
	}
	other := convert(pod("y", "z"), typed.AllowDuplicates)
	difference, err := validated.Compare(other)
	if err != nil {
		t.Fatal(err)
	}
	again, err := unvalidated.Compare(other)
	if err != nil {
		t.Fatal(err)
	}
	if difference.IsSame() || difference.String() != again.String() {
		t.Errorf("difference %v, want %v", again, difference)
	}
	if _, err := convert(pod("x", "x"), typed.AllowDuplicates).ToFieldSet(); err != nil {
		t.Errorf("duplicates that are allowed: %v", err)
	}
	if _, err := converter.ObjectToTyped(pod("x", "x")); err == nil {
		t.Error("duplicates that are not allowed pass")
	}
}

func BenchmarkObjectToTyped(b *testing.B) {
	converter := NewTypeConverter(NewPublisher(scheme.Scheme))
	p := pod("x", "y")
	for name, options := range map[string][]typed.ValidationOptions{"validated": nil, "known": {typed.AllowDuplicates}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := converter.ObjectToTyped(p, options...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
