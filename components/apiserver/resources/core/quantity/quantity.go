// Package quantity has the rules for resource names (cpu, hugepages-2Mi,
// example.com/gpu, requests.storage) and for the amounts that go with them.
package quantity

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// Countable lists the kinds of object whose number a quota may limit by a short name.
func Countable() []corev1.ResourceName {
	return []corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	}
}

// Compute lists what pods use of a node, also in the form that quotas use.
func Compute() []corev1.ResourceName {
	var names []corev1.ResourceName
	for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		names = append(names, n, "requests."+n, "limits."+n)
	}
	return names
}

// IsHugePages reports whether the resource is memory in huge pages.
func IsHugePages(n corev1.ResourceName) bool {
	return strings.HasPrefix(string(n), corev1.ResourceHugePagesPrefix)
}

func isQuotaHugePages(n corev1.ResourceName) bool {
	return IsHugePages(n) || strings.HasPrefix(string(n), corev1.ResourceRequestsHugePagesPrefix)
}

// IsNative reports whether Kubernetes itself defines the resource.
func IsNative(n corev1.ResourceName) bool {
	return !strings.Contains(string(n), "/") || strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtended reports whether a device plugin or an administrator defines the resource.
func IsExtended(n corev1.ResourceName) bool {
	if IsNative(n) || strings.HasPrefix(string(n), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(n))) == 0
}

// MayOvercommit reports whether limits may exceed requests.
func MayOvercommit(n corev1.ResourceName) bool { return IsNative(n) && !IsHugePages(n) }

// IsStandard reports whether a name without a domain is known.
func IsStandard(n corev1.ResourceName) bool {
	return n == corev1.ResourceStorage || IsStandardForQuota(n)
}

// IsStandardForQuota reports whether quotas know the name.
func IsStandardForQuota(n corev1.ResourceName) bool {
	return slices.Contains(Countable(), n) || slices.Contains(Compute(), n) ||
		n == corev1.ResourceRequestsStorage || isQuotaHugePages(n)
}

// IsStandardForContainer reports whether a container may ask for the short name.
func IsStandardForContainer(n corev1.ResourceName) bool {
	switch n {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return IsHugePages(n)
}

func isWhole(n corev1.ResourceName) bool {
	return slices.Contains(Countable(), n) || IsExtended(n)
}

// ValidateName checks a resource's name wherever it stands.
func ValidateName(n corev1.ResourceName, at *field.Path) field.ErrorList {
	var found problem.List
	found.Messages(at, n, validation.IsQualifiedName(string(n)))
	if found.Errors == nil && !strings.Contains(string(n), "/") && !IsStandard(n) {
		found.Invalid(at, n, "must be a standard resource type or fully qualified")
	}
	return found.Errors
}

// ValidateContainerName checks the name of what a container asks for.
func ValidateContainerName(n corev1.ResourceName, at *field.Path) field.ErrorList {
	found := problem.List{Errors: ValidateName(n, at)}
	switch short := !strings.Contains(string(n), "/"); {
	case short && !IsStandardForContainer(n):
		found.Invalid(at, n, "must be a standard resource for containers")
	case !short && !IsNative(n) && !IsExtended(n):
		found.Invalid(at, n, "doesn't follow extended resource name standard")
	}
	return found.Errors
}

// ValidateValue checks an amount: not negative, and whole where the resource cannot be split.
func ValidateValue(n corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
	var found problem.List
	if q.Sign() < 0 {
		found.Invalid(at, q.String(), "must be greater than or equal to 0")
	}
	if isWhole(n) && q.MilliValue()%1000 != 0 {
		found.Invalid(at, q, "must be an integer")
	}
	return found.Errors
}

// ValidatePositive checks an amount that may not be zero.
func ValidatePositive(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.String(), "must be greater than zero")}
}

// ValidateBasic checks an amount that is only reported.
func ValidateBasic(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Value() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.Value(), "must be a valid resource quantity")}
}

// FillsHugePages reports whether an amount is a whole number of pages; the size of
// the page stands in the name.
func FillsHugePages(n corev1.ResourceName, q resource.Quantity) bool {
	page, err := resource.ParseQuantity(strings.TrimPrefix(string(n), corev1.ResourceHugePagesPrefix))
	if err != nil || page.Sign() <= 0 || page.MilliValue()%1000 != 0 {
		return false
	}
	return q.Value()%page.Value() == 0
}

// Requirements checks the limits and requests of a container or a pod.
type Requirements struct {
	// Name checks each resource's name.
	Name func(corev1.ResourceName, *field.Path) field.ErrorList
	// PartialHugePages tolerates amounts that do not fill whole pages.
	PartialHugePages bool
}

// Validate checks limits and requests, and one against the other.
func (r Requirements) Validate(limits, requests corev1.ResourceList, at *field.Path) field.ErrorList {
	var found problem.List
	hugePages, cpuOrMemory := false, false
	look := func(list corev1.ResourceList, listAt *field.Path, more func(corev1.ResourceName, resource.Quantity)) {
		for n, q := range list {
			itemAt := listAt.Key(string(n))
			found.Add(r.Name(n, itemAt)...)
			found.Add(ValidateValue(n, q, itemAt)...)
			more(n, q)
			if IsHugePages(n) {
				hugePages = true
				if !r.PartialHugePages && !FillsHugePages(n, q) {
					found.Invalid(itemAt, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), n))
				}
			}
			cpuOrMemory = cpuOrMemory || n == corev1.ResourceCPU || n == corev1.ResourceMemory
		}
	}
	look(limits, at.Child("limits"), func(corev1.ResourceName, resource.Quantity) {})
	requestsAt := at.Child("requests")
	look(requests, requestsAt, func(n corev1.ResourceName, q resource.Quantity) {
		limit, limited := limits[n]
		switch {
		case !limited && !MayOvercommit(n):
			found.Required(at.Child("limits"), "Limit must be set for non overcommitable resources")
		case limited && !MayOvercommit(n) && q.Cmp(limit) != 0:
			found.Invalid(requestsAt, q.String(), fmt.Sprintf("must be equal to %s limit of %s", n, limit.String()))
		case limited && q.Cmp(limit) > 0:
			found.Invalid(requestsAt, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", n, limit.String()))
		}
	})
	if hugePages && !cpuOrMemory {
		found.Forbidden(at, "HugePages require cpu or memory")
	}
	return found.Errors
}
