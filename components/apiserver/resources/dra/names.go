package dra

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// label checks the name of a request, a device or a counter.
func label(found *problem.List, at *field.Path, name string) {
	found.Messages(at, name, validation.IsDNS1123Label(name))
}

// validateDriver checks the name of the driver that a claim's device or parameters belong to.
func validateDriver(name string, at *field.Path) field.ErrorList {
	var found problem.List
	if name == "" {
		found.Required(at, "")
		return found.Errors
	}
	if len(name) > resourcev1.DriverNameMaxLength {
		found.Add(field.TooLong(at, "", resourcev1.DriverNameMaxLength))
	}
	//nolint:staticcheck // deprecated for its laxness, which upstream keeps for drivers' names
	found.Messages(at, name, content.IsDNS1123SubdomainCaseless(name))
	return found.Errors
}

func validatePoolName(name string, at *field.Path) field.ErrorList {
	var found problem.List
	if name == "" {
		found.Required(at, "")
		return found.Errors
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		found.Add(field.TooLong(at, "", resourcev1.PoolNameMaxLength))
	}
	for part := range strings.SplitSeq(name, "/") {
		found.Messages(at, part, validation.IsDNS1123Subdomain(part))
	}
	return found.Errors
}

// validateQualified checks the name of an attribute or a capacity: an identifier,
// below the domain of whoever defines it.
func validateQualified(name string, at *field.Path) field.ErrorList {
	var found problem.List
	domain, id, qualified := strings.Cut(name, "/")
	if !qualified {
		found.Add(validateIdentifier(name, at)...)
		return found.Errors
	}
	if strings.Contains(id, "/") {
		return nil // upstream lets names with more than one slash pass
	}
	if domain == "" {
		found.Invalid(at, "", "the domain must not be empty")
	} else {
		found.Add(volume.ValidateDriverName(domain, at)...)
	}
	if id == "" {
		found.Invalid(at, "", "the name must not be empty")
	} else {
		found.Add(validateIdentifier(id, at)...)
	}
	return found.Errors
}

func validateFullyQualified(name resourcev1.FullyQualifiedName, at *field.Path) field.ErrorList {
	found := problem.List{Errors: validateQualified(string(name), at)}
	if !strings.Contains(string(name), "/") {
		found.Invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash")
	}
	return found.Errors
}

func validateIdentifier(id string, at *field.Path) field.ErrorList {
	var found problem.List
	if len(id) > resourcev1.DeviceMaxIDLength {
		found.Add(field.TooLong(at, "", resourcev1.DeviceMaxIDLength))
	}
	found.Messages(at, id, validation.IsCIdentifier(id))
	return found.Errors
}

// validateList checks the items of a list of at most so many, no two with the same key.
func validateList[T any, K comparable](items []T, most int, at *field.Path, key func(T) K, check func(T, *field.Path) field.ErrorList) field.ErrorList {
	var found problem.List
	if most >= 0 && len(items) > most {
		found.Add(field.TooMany(at, len(items), most))
		return found.Errors
	}
	seen := sets.New[K]()
	for i, item := range items {
		found.Add(check(item, at.Index(i))...)
		if key == nil {
			continue
		}
		if seen.Has(key(item)) {
			found.Duplicate(at.Index(i), key(item))
		}
		seen.Insert(key(item))
	}
	return found.Errors
}

// duplicates names each item whose key an earlier one has.
func duplicates[T any, K comparable](items []T, at *field.Path, key func(T) K) field.ErrorList {
	var found problem.List
	seen := sets.New[K]()
	for i, item := range items {
		if seen.Has(key(item)) {
			found.Duplicate(at.Index(i), item)
		}
		seen.Insert(key(item))
	}
	return found.Errors
}

func itself(s string) string { return s }

// references are the names that parts of a claim may refer to: requests, and the
// alternatives below them.
type references struct{ names sets.Set[string] }

func referencesOf(claim *resourcev1.DeviceClaim) references {
	r := references{sets.New[string]()}
	for _, request := range claim.Requests {
		r.names.Insert(request.Name)
		for _, sub := range request.FirstAvailable {
			r.names.Insert(request.Name + "/" + sub.Name)
		}
	}
	return r
}

func (r references) check(name string, at *field.Path) field.ErrorList {
	var found problem.List
	const detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		found.Invalid(at, name, detail)
		return found.Errors
	}
	for _, part := range parts {
		label(&found, at, part)
	}
	if !r.names.Has(name) {
		found.Invalid(at, name, detail)
	}
	return found.Errors
}

func (r references) checkAll(names []string, at *field.Path) field.ErrorList {
	return validateList(names, resourcev1.DeviceRequestsMaxSize, at, itself, r.check)
}
