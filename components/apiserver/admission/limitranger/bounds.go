package limitranger

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// check compares requests and limits with all bounds of an item.
func check(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	for name, bound := range item.Min {
		errs = append(errs, least(item.Type, name, bound, requests, limits))
	}
	for name, bound := range item.Max {
		errs = append(errs, most(item.Type, name, bound, requests, limits))
	}
	for name, bound := range item.MaxLimitRequestRatio {
		errs = append(errs, ratio(item.Type, name, bound, requests, limits))
	}
	return errs
}

func least(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	what := fmt.Sprintf("minimum %s usage per %s is %s", name, kind, bound.String())
	request, asked := requests[name]
	limit, limited := limits[name]
	switch {
	case !asked:
		return fmt.Errorf("%s.  No request is specified", what)
	case request.Cmp(bound) < 0:
		return fmt.Errorf("%s, but request is %s", what, request.String())
	case limited && limit.Cmp(bound) < 0:
		return fmt.Errorf("%s, but limit is %s", what, limit.String())
	}
	return nil
}

func most(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	what := fmt.Sprintf("maximum %s usage per %s is %s", name, kind, bound.String())
	request, asked := requests[name]
	limit, limited := limits[name]
	switch {
	case !limited:
		return fmt.Errorf("%s.  No limit is specified", what)
	case limit.Cmp(bound) > 0:
		return fmt.Errorf("%s, but limit is %s", what, limit.String())
	case asked && request.Cmp(bound) > 0:
		return fmt.Errorf("%s, but request is %s", what, request.String())
	}
	return nil
}

func mostRequest(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests corev1.ResourceList) error {
	what := fmt.Sprintf("maximum %s usage per %s is %s", name, kind, bound.String())
	request, asked := requests[name]
	switch {
	case !asked:
		return fmt.Errorf("%s.  No request is specified", what)
	case request.Cmp(bound) > 0:
		return fmt.Errorf("%s, but request is %s", what, request.String())
	}
	return nil
}

func ratio(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	what := fmt.Sprintf("%s max limit to request ratio per %s is %s", name, kind, bound.String())
	request, limit := requests[name], limits[name]
	switch {
	case request.IsZero():
		return fmt.Errorf("%s, but no request is specified or request is 0", what)
	case limit.IsZero():
		return fmt.Errorf("%s, but no limit is specified or limit is 0", what)
	}
	if got := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); got > bound.AsApproximateFloat64() {
		return fmt.Errorf("%s, but provided ratio is %f", what, got)
	}
	return nil
}
