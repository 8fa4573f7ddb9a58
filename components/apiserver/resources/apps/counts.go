package apps

import (
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// count is a number of a spec or status with the name of its field.
type count struct {
	field string
	value int64
}

// optional is the count of a pointer; an absent one passes every check.
func optional[N int32 | int64](field string, value *N) count {
	return count{field, int64(ptr.Deref(value, 0))}
}

// notNegative reports every count below zero.
func notNegative(path *field.Path, counts ...count) (errs field.ErrorList) {
	for _, c := range counts {
		errs = append(errs, apivalidation.ValidateNonnegativeField(c.value, path.Child(c.field))...)
	}
	return errs
}

// atMost reports every count above the limit, which message names.
func atMost(limit int32, message string, path *field.Path, counts ...count) (errs field.ErrorList) {
	for _, c := range counts {
		if c.value > int64(limit) {
			errs = append(errs, field.Invalid(path.Child(c.field), int32(c.value), message))
		}
	}
	return errs
}

const aboveReplicas = "cannot be greater than status.replicas"

// collisionsNotDecremented holds that a status's collisionCount only grows.
func collisionsNotDecremented(now, before *int32) field.ErrorList {
	if before == nil || (now != nil && *now >= *before) {
		return nil
	}
	path := field.NewPath("status", "collisionCount")
	return field.ErrorList{field.Invalid(path, ptr.Deref(now, 0), "cannot be decremented")}
}
