package volume

import (
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// ValidateNoBacksteps refuses a path that climbs by "..".
func ValidateNoBacksteps(p string, at *field.Path) field.ErrorList {
	if slices.Contains(strings.Split(p, "/"), "..") {
		return field.ErrorList{field.Invalid(at, p, "must not contain '..'")}
	}
	return nil
}

// ValidateDescending requires a relative path that stays below its start.
func ValidateDescending(p string, at *field.Path) field.ErrorList {
	var found problem.List
	if path.IsAbs(p) {
		found.Invalid(at, p, "must be a relative path")
	}
	found.Add(ValidateNoBacksteps(p, at)...)
	return found.Errors
}

// ValidateFileInVolume requires a relative path that does not begin with "..": such
// names are the kubelet's, for its atomic updates.
func ValidateFileInVolume(p string, at *field.Path) field.ErrorList {
	found := problem.List{Errors: ValidateDescending(p, at)}
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		found.Invalid(at, p, "must not start with '..'")
	}
	return found.Errors
}

func validateMode(found *problem.List, mode *int32, at *field.Path) {
	if mode != nil {
		found.Within(at, int64(*mode), 0, 0o777, "must be a number between 0 and 0777 (octal), both inclusive")
	}
}
