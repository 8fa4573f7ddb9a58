package node

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestRuntimeClasses(t *testing.T) {
	same := corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists}
	for name, test := range map[string]struct {
		class nodev1.RuntimeClass
		want  []string
	}{
		"good":       {nodev1.RuntimeClass{Handler: "runsc"}, nil},
		"no handler": {nodev1.RuntimeClass{}, []string{"handler: Required value"}},
		"overhead below zero": {nodev1.RuntimeClass{Handler: "x", Overhead: &nodev1.Overhead{
			PodFixed: corev1.ResourceList{"cpu": resource.MustParse("-1")},
		}}, []string{`overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		"a toleration twice": {nodev1.RuntimeClass{Handler: "x", Scheduling: &nodev1.Scheduling{Tolerations: []corev1.Toleration{same, same}}},
			[]string{`scheduling.tolerations[1]: Duplicate value: {"key":"a","operator":"Exists"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range validateRuntimeClass(&test.class) {
				got = append(got, err.Error())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%q\nwant\n%q", got, test.want)
			}
		})
	}
}
