package dra

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

func validateDevice(d, old *resourcev1.Device, perDevice bool, at *field.Path) field.ErrorList {
	var found problem.List
	label(&found, at.Child("name"), d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		found.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	for name, a := range d.Attributes {
		found.Add(validateQualified(string(name), at.Child("attributes"))...)
		found.Add(validateAttribute(&a, at.Child("attributes").Key(string(name)))...)
	}
	if old == nil || !apiequality.Semantic.DeepEqual(d.Capacity, old.Capacity) {
		for name, c := range d.Capacity {
			found.Add(validateQualified(string(name), at.Child("capacity"))...)
			found.Add(validateCapacity(&c, ptr.Deref(d.AllowMultipleAllocations, false), at.Child("capacity").Key(string(name)))...)
		}
	}
	if old == nil || !apiequality.Semantic.DeepEqual(d.Taints, old.Taints) {
		found.Add(validateList[resourcev1.DeviceTaint, string](d.Taints, resourcev1.DeviceTaintsMaxLength, at.Child("taints"), nil,
			func(t resourcev1.DeviceTaint, at *field.Path) field.ErrorList { return validateTaint(&t, nil, at) })...)
	}
	found.Add(validateList(d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, at.Child("consumesCounters"),
		func(c resourcev1.DeviceCounterConsumption) string { return c.CounterSet },
		func(c resourcev1.DeviceCounterConsumption, at *field.Path) field.ErrorList {
			return validateCounters(c.CounterSet, at.Child("counterSet"), c.Counters,
				resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at.Child("counters"))
		})...)
	found.Add(validateDevicePlace(d, perDevice, at)...)
	found.Add(validateBindingConditions(d.BindingConditions, d.BindingFailureConditions, at)...)
	return found.Errors
}

func validateDevicePlace(d *resourcev1.Device, perDevice bool, at *field.Path) field.ErrorList {
	if !perDevice {
		if d.NodeName == nil && d.NodeSelector == nil && d.AllNodes == nil {
			return nil
		}
		return field.ErrorList{field.Invalid(at, nil,
			"`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")}
	}
	set, errs := place{d.NodeName, d.NodeSelector, d.AllNodes, "must not be empty"}.validate(at)
	const one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	switch len(set) {
	case 0:
		errs = append(errs, field.Required(at, one))
	case 1:
	default:
		errs = append(errs, field.Invalid(at, "{"+strings.Join(set, ", ")+"}", one))
	}
	return errs
}

func validateAttribute(a *resourcev1.DeviceAttribute, at *field.Path) field.ErrorList {
	var found problem.List
	var set []string
	for _, value := range []struct {
		name  string
		given bool
	}{{"int", a.IntValue != nil}, {"bool", a.BoolValue != nil}, {"string", a.StringValue != nil}, {"version", a.VersionValue != nil}} {
		if value.given {
			set = append(set, value.name)
		}
	}
	long := func(name string, value *string) {
		if value != nil && len(*value) > resourcev1.DeviceAttributeMaxValueLength {
			found.Add(field.TooLong(at.Child(name), "", resourcev1.DeviceAttributeMaxValueLength))
		}
	}
	long("string", a.StringValue)
	if v := a.VersionValue; v != nil && !isSemanticVersion(*v) {
		found.Invalid(at.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0")
	}
	long("version", a.VersionValue)
	switch len(set) {
	case 0:
		found.Invalid(at, "", "must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`")
	case 1:
	default:
		found.Invalid(at, "{"+strings.Join(set, ", ")+"}", "must specify exactly one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`")
	}
	return found.Errors
}

// isSemanticVersion follows https://semver.org/spec/v2.0.0.html.
func isSemanticVersion(text string) bool {
	const number = `(0|[1-9]\d*)`
	const before = `(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)`
	const build = `[0-9a-zA-Z-]+`
	list := func(item string) string { return item + `(\.` + item + `)*` }
	form := `^` + number + `\.` + number + `\.` + number + `(-` + list(before) + `)?(\+` + list(build) + `)?$`
	return regexp.MustCompile(form).MatchString(text)
}

func validateCapacity(c *resourcev1.DeviceCapacity, shared bool, at *field.Path) field.ErrorList {
	policy, at := c.RequestPolicy, at.Child("requestPolicy")
	switch {
	case policy == nil:
		return nil
	case !shared:
		return field.ErrorList{field.Forbidden(at, "allowMultipleAllocations must be true")}
	case len(policy.ValidValues) > 0 && policy.ValidRange != nil:
		return field.ErrorList{field.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)}
	case len(policy.ValidValues) > 0:
		if policy.Default == nil {
			return field.ErrorList{field.Required(at.Child("default"), "required when validValues is defined")}
		}
		return validateValues(policy, c.Value, at.Child("validValues"))
	case policy.ValidRange != nil:
		if policy.Default == nil {
			return field.ErrorList{field.Required(at.Child("default"), "required when validRange is defined")}
		}
		return validateRange(*policy.Default, policy.ValidRange, c.Value, at.Child("validRange"))
	}
	return nil
}

func validateValues(policy *resourcev1.CapacityRequestPolicy, capacity resource.Quantity, at *field.Path) field.ErrorList {
	var found problem.List
	values := policy.ValidValues
	for i := 1; i < len(values); i++ {
		if values[i-1].Cmp(values[i]) > 0 {
			found.Invalid(at.Index(i), values[i].String(), "values must be sorted in ascending order")
		}
	}
	const most = 10
	found.Add(validateList(values, most, at, func(q resource.Quantity) string { return q.AsDec().String() },
		func(q resource.Quantity, at *field.Path) field.ErrorList {
			if q.Cmp(capacity) <= 0 {
				return nil
			}
			return field.ErrorList{field.Invalid(at, q.String(), "option is larger than capacity value: "+capacity.String())}
		})...)
	if !slices.ContainsFunc(values, func(q resource.Quantity) bool { return q.Cmp(*policy.Default) == 0 }) {
		found.Invalid(at, policy.Default.String(), "default value is not valid according to the requestPolicy")
	}
	return found.Errors
}

func validateRange(standard resource.Quantity, bounds *resourcev1.CapacityRequestPolicyRange, capacity resource.Quantity, at *field.Path) field.ErrorList {
	var found problem.List
	low, high := bounds.Min, bounds.Max
	if low == nil {
		found.Required(at.Child("min"), "required when validRange is defined")
		return found.Errors
	}
	if low.Cmp(capacity) > 0 {
		found.Invalid(at.Child("min"), low.String(), "min is larger than capacity value: "+capacity.String())
	}
	if standard.Cmp(*low) < 0 {
		found.Invalid(at.Child("default"), standard.String(), "default is less than min: "+low.String())
	}
	if high != nil {
		if low.Cmp(*high) > 0 {
			found.Invalid(at.Child("max"), low.String(), "min is larger than max: "+high.String())
		}
		if high.Cmp(capacity) > 0 {
			found.Invalid(at.Child("max"), high.String(), "max is larger than capacity value: "+capacity.String())
		}
		if standard.Cmp(*high) > 0 {
			found.Invalid(at.Child("default"), standard.String(), "default is more than max: "+high.String())
		}
	}
	found.Add(validateSteps(standard, bounds, capacity, at)...)
	return found.Errors
}

// validateSteps checks that the bounds and the default lie on the range's steps. Whole
// numbers are counted as such, fractions in thousandths.
func validateSteps(standard resource.Quantity, bounds *resourcev1.CapacityRequestPolicyRange, capacity resource.Quantity, at *field.Path) field.ErrorList {
	var found problem.List
	named := []struct {
		name string
		q    *resource.Quantity
	}{{"default", &standard}, {"min", bounds.Min}, {"max", bounds.Max}, {"step", bounds.Step}}
	count := func(q *resource.Quantity) int64 { return q.Value() }
	whole := true
	for _, n := range named {
		if n.q != nil && n.q.Cmp(*resource.NewQuantity(n.q.Value(), n.q.Format)) != 0 && n.q.CmpInt64(math.MaxInt64) <= 0 {
			whole = false
		}
	}
	for _, n := range named {
		switch {
		case n.q == nil:
		case !whole && n.q.Cmp(*resource.NewMilliQuantity(n.q.MilliValue(), n.q.Format)) != 0:
			found.Invalid(at.Child(n.name), n.q.String(), "value cannot be represented as a milli value")
		case whole && bounds.Step != nil && n.q.Sign() < 0 && n.name != "step":
			found.Invalid(at.Child(n.name), n.q.String(), apivalidation.IsNegativeErrorMsg)
		case whole && bounds.Step != nil && n.q.CmpInt64(math.MaxInt64) > 0:
			found.Invalid(at.Child(n.name), n.q.String(), fmt.Sprintf("must not be larger than %d", int64(math.MaxInt64)))
		}
	}
	if !whole {
		count = func(q *resource.Quantity) int64 { return q.MilliValue() }
	}
	step := bounds.Step
	if step == nil || len(found.Errors) > 0 {
		return found.Errors
	}
	if step.Sign() <= 0 {
		found.Invalid(at.Child("step"), step.String(), "must be greater than zero")
		return found.Errors
	}
	next := bounds.Min.DeepCopy()
	next.Add(*step)
	if next.Cmp(capacity) > 0 {
		found.Invalid(at.Child("step"), step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", next.String(), capacity.String()))
	}
	for _, q := range []*resource.Quantity{&standard, bounds.Max} {
		if q != nil && (count(q)-count(bounds.Min))%count(step) != 0 {
			found.Invalid(at.Child("step"), q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", step.String(), bounds.Min.String()))
		}
	}
	return found.Errors
}

// validateBindingConditions checks what a device waits for before a pod is bound,
// and what tells that waiting is in vain: there is either both or neither.
func validateBindingConditions(ready, failed []string, at *field.Path) field.ErrorList {
	var found problem.List
	readyAt, failedAt := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	found.Add(validateList(ready, resourcev1.BindingConditionsMaxSize, readyAt, itself, metav1validation.ValidateLabelName)...)
	found.Add(validateList(failed, resourcev1.BindingFailureConditionsMaxSize, failedAt, itself, metav1validation.ValidateLabelName)...)
	for i, condition := range failed {
		if slices.Contains(ready, condition) {
			found.Invalid(failedAt.Index(i), condition, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(ready) == 0 && len(failed) > 0 {
		found.Invalid(readyAt, ready, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(failed) == 0 && len(ready) > 0 {
		found.Invalid(failedAt, failed, "bindingFailureConditions are required to use bindingConditions")
	}
	return found.Errors
}
