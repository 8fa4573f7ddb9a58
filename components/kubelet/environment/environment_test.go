package environment

import (
	"context"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		value, ok := map[string]string{"A": "1", "B": "$(A)", "E": ""}[name]
		return value, ok
	}
	for text, want := range map[string]string{
		"plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$$(A)": "$(A)", "$$$(A)": "$1",
		"$(B)": "$(A)", "$(NO)": "$(NO)", "$(E)": "", "$(A": "$(A", "$": "$", "a$b": "a$b", "$(A$(A)": "$(A$(A)", "$()": "$()",
	} {
		if got := Expand(text, lookup); got != want {
			t.Errorf("Expand(%q) = %q, want %q", text, got, want)
		}
	}
}

type objects struct {
	configMaps map[string]map[string]string
	secrets    map[string]map[string][]byte
}

func (o objects) ConfigMap(_ context.Context, _, name string) (*v1.ConfigMap, error) {
	if data, ok := o.configMaps[name]; ok {
		return &v1.ConfigMap{Data: data}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (o objects) Secret(_ context.Context, _, name string) (*v1.Secret, error) {
	if data, ok := o.secrets[name]; ok {
		return &v1.Secret{Data: data}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func TestMake(t *testing.T) {
	yes := true
	configMap := func(name, key string, optional *bool) *v1.EnvVarSource {
		return &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: name}, Key: key, Optional: optional}}
	}
	kubernetes := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
		Spec:       v1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []v1.ServicePort{{Name: "https", Port: 443, Protocol: v1.ProtocolTCP}}},
	}
	tests := []struct {
		name    string
		env     []v1.EnvVar
		from    []v1.EnvFromSource
		want    map[string]string
		absent  string
		wantErr string
	}{
		{name: "later ones see earlier ones", env: []v1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)2"}}, want: map[string]string{"B": "12"}},
		{name: "services can be referred to", env: []v1.EnvVar{{Name: "URL", Value: "https://$(KUBERNETES_SERVICE_HOST)"}}, want: map[string]string{"URL": "https://10.96.0.1", "KUBERNETES_PORT_443_TCP_PROTO": "tcp"}},
		{name: "env wins over envFrom", from: []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}}}, env: []v1.EnvVar{{Name: "k", Value: "own"}}, want: map[string]string{"k": "own", "data-1": "v"}},
		{name: "prefix", from: []v1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}}}, want: map[string]string{"P_k": "from"}},
		{name: "config map", env: []v1.EnvVar{{Name: "X", ValueFrom: configMap("cm", "k", nil)}}, want: map[string]string{"X": "from"}},
		{name: "missing config map", env: []v1.EnvVar{{Name: "X", ValueFrom: configMap("no", "k", nil)}}, wantErr: `configmaps "no" not found`},
		{name: "missing key", env: []v1.EnvVar{{Name: "X", ValueFrom: configMap("cm", "no", nil)}}, wantErr: "couldn't find key no in ConfigMap ns/cm"},
		{name: "missing optional key", env: []v1.EnvVar{{Name: "X", ValueFrom: configMap("cm", "no", &yes)}}, absent: "X"},
		{name: "missing optional config map", env: []v1.EnvVar{{Name: "X", ValueFrom: configMap("no", "k", &yes)}}, absent: "X"},
		{name: "field", env: []v1.EnvVar{{Name: "X", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels['a.b/c']"}}}}, want: map[string]string{"X": "label"}},
		{name: "limit falls back to the node", env: []v1.EnvVar{{Name: "X", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}}}, want: map[string]string{"X": "1024"}},
		{name: "cpu is rounded up", env: []v1.EnvVar{{Name: "X", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "requests.cpu"}}}}, want: map[string]string{"X": "1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := v1.Container{Name: "c", Env: test.env, EnvFrom: test.from, Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("250m")}}}
			pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: map[string]string{"a.b/c": "label"}}, Spec: v1.PodSpec{Containers: []v1.Container{c}}}
			got, err := Make(context.Background(), Request{
				Pod: pod, Container: &c, Services: []*v1.Service{kubernetes},
				Objects:     objects{configMaps: map[string]map[string]string{"cm": {"k": "from", "data-1": "v"}}},
				Allocatable: v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")},
			})
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range test.want {
				if value, _ := got.Lookup(name); value != want {
					t.Errorf("%s = %q, want %q", name, value, want)
				}
			}
			if _, present := got.Lookup(test.absent); test.absent != "" && present {
				t.Errorf("%s is set", test.absent)
			}
		})
	}
}
