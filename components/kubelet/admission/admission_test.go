package admission

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func requesting(name v1.ResourceName, amount string) *v1.Pod {
	return &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Resources: v1.ResourceRequirements{
		Requests: v1.ResourceList{name: resource.MustParse(amount)},
	}}}}}
}

func TestWhatANodeHasTooLittleOf(t *testing.T) {
	gate := Gate{
		Node: func() *v1.Node { return nil },
		Allocatable: func() v1.ResourceList {
			return v1.ResourceList{
				v1.ResourcePods: resource.MustParse("10"), v1.ResourceCPU: resource.MustParse("1"),
				"example.com/gpu": resource.MustParse("2"), "example.com/spent": resource.MustParse("0"),
			}
		},
	}
	claimed := requesting("example.com/gpu", "3")
	claimed.Status.ExtendedResourceClaimStatus = &v1.PodExtendedResourceClaimStatus{
		RequestMappings: []v1.ContainerExtendedResourceRequest{{ContainerName: "c", ResourceName: "example.com/gpu"}},
	}
	for name, test := range map[string]struct {
		pod    *v1.Pod
		others []*v1.Pod
		want   string
	}{
		"enough":                         {requesting(v1.ResourceCPU, "1"), nil, ""},
		"too little":                     {requesting(v1.ResourceCPU, "600m"), []*v1.Pod{requesting(v1.ResourceCPU, "500m")}, "OutOfcpu"},
		"enough of an extended resource": {requesting("example.com/gpu", "2"), nil, ""},
		"an extended resource is taken":  {requesting("example.com/gpu", "1"), []*v1.Pod{requesting("example.com/gpu", "2")}, "OutOfexample.com/gpu"},
		"nothing is left of it":          {requesting("example.com/spent", "1"), nil, "OutOfexample.com/spent"},
		"it is devices":                  {claimed, nil, ""},
		"the node does not know it":      {requesting("example.com/license", "5"), nil, ""},
		"no huge pages":                  {requesting("hugepages-2Mi", "2Mi"), nil, "OutOfhugepages-2Mi"},
		"not an extended resource":       {requesting("storage.kubernetes.io/thing", "1"), nil, "OutOfstorage.kubernetes.io/thing"},
	} {
		got := ""
		if verdict := gate.Admit(test.pod, test.others); verdict != nil {
			got = verdict.Reason
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
