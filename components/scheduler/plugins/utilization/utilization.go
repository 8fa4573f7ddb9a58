// Package utilization rates how full something is by a line through points that a user gives.
package utilization

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// maxScore is the highest score that a point may have.
const maxScore = 10

// Height is the height of the line at a utilization, from 0 to the highest score of a node: level before the first and
// after the last point.
func Height(shape []configv1.UtilizationShapePoint, utilization int64) int64 {
	at := func(i int) int64 { return int64(shape[i].Score) * (fwk.MaxScore / maxScore) }
	for i := range shape {
		right := int64(shape[i].Utilization)
		if utilization > right {
			continue
		}
		if i == 0 {
			return at(0)
		}
		left := int64(shape[i-1].Utilization)
		return at(i-1) + (at(i)-at(i-1))*(utilization-left)/(right-left)
	}
	return at(len(shape) - 1)
}

// Validate checks the points of a shape.
func Validate(path *field.Path, shape []configv1.UtilizationShapePoint) field.ErrorList {
	var errs field.ErrorList
	if len(shape) == 0 {
		errs = append(errs, field.Required(path, "at least one point must be specified"))
	}
	for i, point := range shape {
		if i > 0 && shape[i-1].Utilization >= point.Utilization {
			errs = append(errs, field.Invalid(path.Index(i).Child("utilization"), point.Utilization, "values must be sorted in increasing order"))
		}
		if point.Utilization < 0 || point.Utilization > 100 {
			errs = append(errs, field.Invalid(path.Index(i).Child("utilization"), point.Utilization, "not in valid range [0, 100]"))
		}
		if point.Score < 0 || point.Score > maxScore {
			errs = append(errs, field.Invalid(path.Index(i).Child("score"), point.Score, fmt.Sprintf("not in valid range [0, %d]", maxScore)))
		}
	}
	return errs
}
