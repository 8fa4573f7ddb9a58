// Package core has the resources of the core group, "/api/v1", but for pods, which
// are a package of their own.
package core

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// identity names a resource of the core group.
func identity(kind, name, singular string, short ...string) resource.Identity {
	return resource.Identity{GroupVersion: corev1.SchemeGroupVersion, Kind: kind, Name: name, Singular: singular, ShortNames: short}
}

// clusterWide is identity for a resource that lives outside namespaces.
func clusterWide(kind, name, singular string, short ...string) resource.Identity {
	id := identity(kind, name, singular, short...)
	id.ClusterScoped = true
	return id
}

func orNone(s string) string { return cmp.Or(s, table.None) }

// dnsSubdomain is a name in a message-giving form, for references by name.
func dnsSubdomain(name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, m := range apivalidation.NameIsDNSSubdomain(name, false) {
		errs = append(errs, field.Invalid(at, name, m))
	}
	return errs
}
