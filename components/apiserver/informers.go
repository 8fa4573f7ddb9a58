package apiserver

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
)

// newInformers makes the factory that the server's own parts share. Its informers of
// built-in resources follow the stores directly.
func (s *server) newInformers() informers.SharedInformerFactory {
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(withoutManagedFields))
	for _, followed := range s.followed() {
		factory.InformerFor(followed.example, s.direct.NewInformer(followed.resource, followed.example))
	}
	return factory
}

type followedResource struct {
	resource schema.GroupResource
	example  runtime.Object
}

// followed lists the resources that authorization, fairness, admission and routing look at all the
// time. Each of them is kept twice for it, as soon as the server starts, so none is here that nobody
// asks an informer for: what admission looks up by name it reads from the watch cache.
func (s *server) followed() []followedResource {
	wanted := map[schema.GroupResource]bool{}
	for _, gr := range []string{
		"namespaces", "services", "resourcequotas", "endpointslices.discovery.k8s.io",
		"roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
		"clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io",
		"flowschemas.flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
		"mutatingwebhookconfigurations.admissionregistration.k8s.io", "validatingwebhookconfigurations.admissionregistration.k8s.io",
		"validatingadmissionpolicies.admissionregistration.k8s.io", "validatingadmissionpolicybindings.admissionregistration.k8s.io",
		"mutatingadmissionpolicies.admissionregistration.k8s.io", "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
	} {
		wanted[schema.ParseGroupResource(gr)] = true
	}
	var list []followedResource
	for _, entry := range s.entries {
		id := entry.ID()
		if !wanted[id.GroupResource()] {
			continue
		}
		if example, err := s.scheme.New(id.GroupVersion.WithKind(id.Kind)); err == nil {
			list = append(list, followedResource{id.GroupResource(), example})
		}
	}
	return list
}

// withoutManagedFields halves what an informer keeps.
func withoutManagedFields(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}
