package quota

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func pod(requests corev1.ResourceList) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests}}}}}
}

func TestPodUsage(t *testing.T) {
	p := pod(corev1.ResourceList{"cpu": resource.MustParse("100m"), "example.com/gpu": resource.MustParse("2")})
	usage := podUsage(p)
	for name, want := range map[corev1.ResourceName]string{"pods": "1", "count/pods": "1", "cpu": "100m", "requests.cpu": "100m", "requests.example.com/gpu": "2"} {
		if got := usage[name]; got.String() != want {
			t.Errorf("%s: got %s, want %s", name, got.String(), want)
		}
	}
	if _, bare := usage["example.com/gpu"]; bare {
		t.Error("an extended resource is counted without its prefix")
	}
	p.Status.Phase = corev1.PodSucceeded
	if usage := podUsage(p); len(usage) != 1 {
		t.Errorf("a pod that is over still takes %v", usage)
	}
}

func TestPodDemands(t *testing.T) {
	err := podDemands([]corev1.ResourceName{"limits.memory", "requests.cpu", "pods"}, pod(corev1.ResourceList{"cpu": resource.MustParse("1")}))
	if err == nil || err.Error() != "must specify limits.memory for: c" {
		t.Errorf("got %v", err)
	}
}

func TestScopes(t *testing.T) {
	short := pod(nil)
	short.Spec.ActiveDeadlineSeconds = ptr.To(int64(5))
	short.Spec.PriorityClassName = "high"
	for scope, want := range map[corev1.ResourceQuotaScope]bool{
		corev1.ResourceQuotaScopeTerminating: true, corev1.ResourceQuotaScopeNotTerminating: false,
		corev1.ResourceQuotaScopeBestEffort: true, corev1.ResourceQuotaScopePriorityClass: true,
		corev1.ResourceQuotaScopeCrossNamespacePodAffinity: false,
	} {
		got, err := podInScope(short, corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists})
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", scope, got, err, want)
		}
	}
}

func TestServiceUsage(t *testing.T) {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 1}, {Port: 2, NodePort: 30000}}}}
	ports := serviceUsage(s)[corev1.ResourceServicesNodePorts]
	if ports.Value() != 2 {
		t.Errorf("got %d node ports, want 2", ports.Value())
	}
	s.Spec.AllocateLoadBalancerNodePorts = ptr.To(false)
	if ports = serviceUsage(s)[corev1.ResourceServicesNodePorts]; ports.Value() != 1 {
		t.Errorf("got %d node ports, want the one that is named", ports.Value())
	}
}
