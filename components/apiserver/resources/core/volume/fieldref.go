package volume

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// inVolume are the pod's fields that a downward API file may show.
func inVolume() []string {
	return []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
}

// downwardFields are all fields the downward API knows, in files or in variables.
func downwardFields() []string {
	return append(inVolume(),
		"spec.nodeName", "spec.host", "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName",
		"status.phase", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")
}

// ValidateFieldRef checks a reference to a field of the pod. allowed are the fields
// that make sense at this place.
func ValidateFieldRef(ref *corev1.ObjectFieldSelector, allowed []string, at *field.Path) field.ErrorList {
	var found problem.List
	pathAt := at.Child("fieldPath")
	switch {
	case ref.APIVersion == "":
		found.Required(at.Child("apiVersion"), "")
		return found.Errors
	case ref.FieldPath == "":
		found.Required(pathAt, "")
		return found.Errors
	case ref.APIVersion != "v1":
		found.Invalid(pathAt, ref.FieldPath, "error converting fieldPath: unsupported pod version: "+ref.APIVersion)
		return found.Errors
	}
	if name, key, subscripted := splitSubscript(ref.FieldPath); subscripted {
		switch name {
		case "metadata.annotations":
			qualified(&found, strings.ToLower(key), at)
		case "metadata.labels":
			qualified(&found, key, at)
		default:
			found.Invalid(pathAt, ref.FieldPath, "error converting fieldPath: field label does not support subscript: "+ref.FieldPath)
		}
		return found.Errors
	}
	switch {
	case !slices.Contains(downwardFields(), ref.FieldPath):
		found.Invalid(pathAt, ref.FieldPath, "error converting fieldPath: field label not supported: "+ref.FieldPath)
	case !slices.Contains(allowed, ref.FieldPath):
		problem.OneOf(&found, pathAt, ref.FieldPath, allowed...)
	}
	return found.Errors
}

func qualified(found *problem.List, name string, at *field.Path) {
	for _, m := range validation.IsQualifiedName(name) {
		found.Add(field.Invalid(at, name, m).WithOrigin("format=qualified-name"))
	}
}

// splitSubscript takes metadata.labels['app'] apart into metadata.labels and app.
func splitSubscript(p string) (name, key string, ok bool) {
	inner, closed := strings.CutSuffix(p, "']")
	if !closed {
		return p, "", false
	}
	name, key, ok = strings.Cut(inner, "['")
	if !ok || name == "" {
		return p, "", false
	}
	return name, key, true
}

// ValidateResourceRef checks a reference to a container's limit or request. named says
// whether the container has to be named (in volumes, which are not a container's own).
func ValidateResourceRef(ref *corev1.ResourceFieldSelector, named bool, at *field.Path) field.ErrorList {
	var found problem.List
	side, what, _ := strings.Cut(ref.Resource, ".")
	known := false
	if side == "limits" || side == "requests" {
		known = what == "cpu" || what == "memory" || what == "ephemeral-storage" || strings.HasPrefix(what, corev1.ResourceHugePagesPrefix)
	}
	switch {
	case named && ref.ContainerName == "":
		found.Required(at.Child("containerName"), "")
	case ref.Resource == "":
		found.Required(at.Child("resource"), "")
	case !known:
		problem.OneOf(&found, at.Child("resource"), ref.Resource, "limits.cpu", "limits.ephemeral-storage", "limits.memory",
			"requests.cpu", "requests.ephemeral-storage", "requests.memory")
	}
	if !known || ref.Divisor.IsZero() {
		return found.Errors
	}
	divisors, kind := "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei", what
	switch {
	case what == "cpu":
		divisors = "1m, 1"
	case what == "ephemeral-storage":
		kind = "local ephemeral storage"
	case strings.HasPrefix(what, corev1.ResourceHugePagesPrefix):
		kind = "hugepages"
	}
	if given := strings.Split(divisors, ", "); !slices.Contains(given, ref.Divisor.String()) {
		if what == "cpu" {
			divisors = strings.Join(given, " and ")
		}
		found.Invalid(at.Child("divisor"), ref.Resource,
			fmt.Sprintf("only divisor's values %s are supported with the %s resource", divisors, kind))
	}
	return found.Errors
}
