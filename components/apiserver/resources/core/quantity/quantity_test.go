package quantity

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestNames(t *testing.T) {
	for name, want := range map[corev1.ResourceName]struct{ container, quota, overcommit, whole bool }{
		"cpu":                      {true, true, true, false},
		"hugepages-2Mi":            {true, true, false, false},
		"requests.storage":         {false, true, true, false},
		"services.nodeports":       {false, true, true, true},
		"storage":                  {false, false, true, false},
		"example.com/gpu":          {false, false, false, true},
		"requests.example.com/gpu": {false, false, false, false},
		"foo":                      {false, false, true, false},
	} {
		if got := IsStandardForContainer(name); got != want.container {
			t.Errorf("%s for containers: %v", name, got)
		}
		if got := IsStandardForQuota(name); got != want.quota {
			t.Errorf("%s for quotas: %v", name, got)
		}
		if got := MayOvercommit(name); got != want.overcommit {
			t.Errorf("%s may be overcommitted: %v", name, got)
		}
		if got := len(ValidateValue(name, resource.MustParse("1.5"), field.NewPath("x"))) > 0; got != want.whole {
			t.Errorf("%s has to be whole: %v", name, got)
		}
	}
}
