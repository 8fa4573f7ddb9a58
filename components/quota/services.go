package quota

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/utils/ptr"
)

func services(lister quotav1.ListerForResourceFunc) quotav1.Evaluator {
	return &measure{
		resource: corev1.SchemeGroupVersion.WithResource("services"),
		lister:   lister,
		covers: func(name corev1.ResourceName) bool {
			return name == corev1.ResourceServices || name == corev1.ResourceServicesNodePorts || name == corev1.ResourceServicesLoadBalancers
		},
		usage:   serviceUsage,
		changed: func(_, _ runtime.Object) bool { return true },
	}
}

// serviceUsage counts a Service, its node ports (a load balancer's too, where it has them), and its load balancer.
func serviceUsage(object runtime.Object) (corev1.ResourceList, error) {
	service, err := as[*corev1.Service](object)
	if err != nil {
		return nil, err
	}
	number := func(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }
	nodePorts, balancers := 0, 0
	switch service.Spec.Type {
	case corev1.ServiceTypeNodePort:
		nodePorts = len(service.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		balancers = 1
		nodePorts = len(service.Spec.Ports)
		if !ptr.Deref(service.Spec.AllocateLoadBalancerNodePorts, true) {
			nodePorts = 0
			for _, port := range service.Spec.Ports {
				if port.NodePort != 0 {
					nodePorts++
				}
			}
		}
	}
	return corev1.ResourceList{
		generic.ObjectCountQuotaResourceNameFor(corev1.Resource("services")): number(1),
		corev1.ResourceServices:              number(1),
		corev1.ResourceServicesNodePorts:     number(nodePorts),
		corev1.ResourceServicesLoadBalancers: number(balancers),
	}, nil
}
