package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
)

func services() quotav1.Evaluator {
	return &measure[*corev1.Service]{
		resource: corev1.Resource("services"),
		covers: func(name corev1.ResourceName) bool {
			switch name {
			case "count/services", corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
				return true
			}
			return false
		},
		usage: serviceUsage, changes: written,
	}
}

// serviceUsage counts the node ports that a Service is going to get, since it is asked before it has them.
func serviceUsage(service *corev1.Service) corev1.ResourceList {
	ports, balancers := 0, 0
	switch service.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = len(service.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		balancers, ports = 1, len(service.Spec.Ports)
		if allocate := service.Spec.AllocateLoadBalancerNodePorts; allocate != nil && !*allocate {
			ports = 0
			for _, port := range service.Spec.Ports {
				if port.NodePort != 0 {
					ports++
				}
			}
		}
	}
	return corev1.ResourceList{
		"count/services": count(1), corev1.ResourceServices: count(1),
		corev1.ResourceServicesNodePorts: count(ports), corev1.ResourceServicesLoadBalancers: count(balancers),
	}
}

const classInfix = ".storageclass.storage.k8s.io/"

func claims() quotav1.Evaluator {
	return &measure[*corev1.PersistentVolumeClaim]{
		resource: corev1.Resource("persistentvolumeclaims"),
		covers: func(name corev1.ResourceName) bool {
			return name == "count/persistentvolumeclaims" || name == corev1.ResourcePersistentVolumeClaims ||
				name == corev1.ResourceRequestsStorage || strings.Contains(string(name), classInfix)
		},
		usage: claimUsage, changes: written,
	}
}

// claimUsage counts a claim both in all and in its storage class.
func claimUsage(claim *corev1.PersistentVolumeClaim) corev1.ResourceList {
	usage := corev1.ResourceList{"count/persistentvolumeclaims": count(1), corev1.ResourcePersistentVolumeClaims: count(1)}
	class := claim.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" && claim.Spec.StorageClassName != nil {
		class = *claim.Spec.StorageClassName
	}
	if class != "" {
		usage[corev1.ResourceName(class+classInfix+"persistentvolumeclaims")] = count(1)
	}
	size, asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !asked {
		return usage
	}
	if given, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(size) > 0 {
		size = given
	}
	usage[corev1.ResourceRequestsStorage] = size
	if class != "" {
		usage[corev1.ResourceName(class+classInfix+"requests.storage")] = size
	}
	return usage
}
