// Package percent checks the counts that a user may give as a number or as a
// share of the replicas, such as maxUnavailable.
package percent

import (
	"strconv"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate accepts a number that is not negative, or a percentage.
func Validate(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	switch v.Type {
	case intstr.Int:
		return apivalidation.ValidateNonnegativeField(int64(v.IntVal), path)
	case intstr.String:
		var errs field.ErrorList
		for _, problem := range validation.IsValidPercent(v.StrVal) {
			errs = append(errs, field.Invalid(path, *v, problem))
		}
		return errs
	}
	return field.ErrorList{field.Invalid(path, *v, "must be an integer or percentage (e.g '5%%')")}
}

// AtMostAll refuses a share above 100%.
func AtMostAll(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	if share, ok := share(v); ok && share > 100 {
		return field.ErrorList{field.Invalid(path, *v, "must not be greater than 100%")}
	}
	return nil
}

// IsZero says whether the value is 0 or 0%, or absent.
func IsZero(v *intstr.IntOrString) bool {
	if v == nil {
		return true
	}
	if share, ok := share(v); ok {
		return share == 0
	}
	return v.IntValue() == 0
}

func share(v *intstr.IntOrString) (int, bool) {
	if v == nil || v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	return n, err == nil
}
