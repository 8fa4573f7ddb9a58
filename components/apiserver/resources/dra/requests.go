package dra

import (
	"encoding/json"
	"errors"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// wanted is what an exact request and an alternative have in common.
type wanted struct {
	class       string
	selectors   []resourcev1.DeviceSelector
	mode        resourcev1.DeviceAllocationMode
	count       int64
	tolerations []resourcev1.DeviceToleration
}

func defaultCount(mode *resourcev1.DeviceAllocationMode, count *int64, tolerations []resourcev1.DeviceToleration) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
	defaultTolerations(tolerations)
}

func defaultTolerations(tolerations []resourcev1.DeviceToleration) {
	for i := range tolerations {
		if tolerations[i].Operator == "" {
			tolerations[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

func defaultRequests(claim *resourcev1.DeviceClaim) {
	for i := range claim.Requests {
		request := &claim.Requests[i]
		if exact := request.Exactly; exact != nil {
			defaultCount(&exact.AllocationMode, &exact.Count, exact.Tolerations)
		}
		for j := range request.FirstAvailable {
			sub := &request.FirstAvailable[j]
			defaultCount(&sub.AllocationMode, &sub.Count, sub.Tolerations)
		}
	}
}

// dropOffFields clears what belongs to features that are off.
func dropOffFields(claim *resourcev1.DeviceClaim) {
	for i := range claim.Requests {
		if exact := claim.Requests[i].Exactly; exact != nil {
			exact.DerivedAttributes = nil
		}
		for j := range claim.Requests[i].FirstAvailable {
			claim.Requests[i].FirstAvailable[j].DerivedAttributes = nil
		}
	}
}

func validateClaim(claim *resourcev1.DeviceClaim, at *field.Path) field.ErrorList {
	var found problem.List
	names := referencesOf(claim)
	found.Add(validateList[resourcev1.DeviceRequest, string](claim.Requests, resourcev1.DeviceRequestsMaxSize, at.Child("requests"), nil, validateRequest)...)
	found.Add(duplicates(claim.Requests, at.Child("requests"), func(r resourcev1.DeviceRequest) string { return r.Name })...)
	found.Add(validateList[resourcev1.DeviceConstraint, string](claim.Constraints, resourcev1.DeviceConstraintsMaxSize, at.Child("constraints"), nil,
		func(c resourcev1.DeviceConstraint, at *field.Path) field.ErrorList {
			return validateConstraint(c, names, at)
		})...)
	found.Add(validateList[resourcev1.DeviceClaimConfiguration, string](claim.Config, resourcev1.DeviceConfigMaxSize, at.Child("config"), nil,
		func(c resourcev1.DeviceClaimConfiguration, at *field.Path) field.ErrorList {
			return append(names.checkAll(c.Requests, at.Child("requests")), validateConfiguration(&c.DeviceConfiguration, false, at)...)
		})...)
	return found.Errors
}

func validateRequest(request resourcev1.DeviceRequest, at *field.Path) field.ErrorList {
	var found problem.List
	label(&found, at.Child("name"), request.Name)
	const one = "exactly one of `exactly` or `firstAvailable` is required"
	switch exact, choice := request.Exactly, request.FirstAvailable; {
	case exact == nil && len(choice) == 0:
		found.Required(at, one)
	case exact != nil && len(choice) > 0:
		found.Invalid(at, nil, one+", but multiple fields are set")
	case exact != nil:
		found.Add(wanted{exact.DeviceClassName, exact.Selectors, exact.AllocationMode, exact.Count, exact.Tolerations}.validate(at.Child("exactly"))...)
	default:
		found.Add(validateList(choice, resourcev1.FirstAvailableDeviceRequestMaxSize, at.Child("firstAvailable"),
			func(s resourcev1.DeviceSubRequest) string { return s.Name },
			func(s resourcev1.DeviceSubRequest, at *field.Path) field.ErrorList {
				var found problem.List
				label(&found, at.Child("name"), s.Name)
				found.Add(wanted{s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations}.validate(at)...)
				return found.Errors
			})...)
	}
	return found.Errors
}

func (w wanted) validate(at *field.Path) field.ErrorList {
	var found problem.List
	if w.class == "" {
		found.Required(at.Child("deviceClassName"), "")
	} else {
		found.Messages(at.Child("deviceClassName"), w.class, validation.IsDNS1123Subdomain(w.class))
	}
	found.Add(validateSelectors(w.selectors, false, at.Child("selectors"))...)
	switch w.mode {
	case resourcev1.DeviceAllocationModeAll:
		if w.count != 0 {
			found.Invalid(at.Child("count"), w.count, fmt.Sprintf("must not be specified when allocationMode is '%s'", w.mode))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		found.Positive(at.Child("count"), w.count)
	default:
		problem.OneOf(&found, at.Child("allocationMode"), w.mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)
	}
	for i := range w.tolerations {
		found.Add(validateToleration(&w.tolerations[i], at.Child("tolerations").Index(i))...)
	}
	return found.Errors
}

// validateSelectors compiles expressions, unless they are stored and thus were right once.
func validateSelectors(selectors []resourcev1.DeviceSelector, stored bool, at *field.Path) field.ErrorList {
	return validateList[resourcev1.DeviceSelector, string](selectors, resourcev1.DeviceSelectorsMaxSize, at, nil,
		func(s resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
			if s.CEL == nil {
				return field.ErrorList{field.Required(at.Child("cel"), "")}
			}
			if stored {
				return nil
			}
			return validateExpression(s.CEL.Expression, at.Child("cel", "expression"))
		})
}

func validateExpression(text string, at *field.Path) field.ErrorList {
	if len(text) > resourcev1.CELSelectorExpressionMaxLength {
		return field.ErrorList{field.TooLong(at, "", resourcev1.CELSelectorExpressionMaxLength)}
	}
	mode := environment.NewExpressions
	result := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).CompileCELExpression(text, dracel.Options{EnvType: &mode})
	if result.Error == nil {
		if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
			return field.ErrorList{field.Forbidden(at, "too complex, exceeds cost limit")}
		}
		return nil
	}
	var broken *cel.Error
	if !errors.As(result.Error, &broken) {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("unsupported error type: %w", result.Error))}
	}
	switch broken.Type {
	case cel.ErrorTypeRequired:
		return field.ErrorList{field.Required(at, broken.Detail)}
	case cel.ErrorTypeInvalid:
		return field.ErrorList{field.Invalid(at, text, broken.Detail)}
	}
	return field.ErrorList{field.InternalError(at, broken)}
}

func validateConstraint(c resourcev1.DeviceConstraint, names references, at *field.Path) field.ErrorList {
	found := problem.List{Errors: names.checkAll(c.Requests, at.Child("requests"))}
	switch {
	case c.MatchAttribute != nil:
		found.Add(validateFullyQualified(*c.MatchAttribute, at.Child("matchAttribute"))...)
	case c.DistinctAttribute != nil:
		found.Add(validateFullyQualified(*c.DistinctAttribute, at.Child("distinctAttribute"))...)
	default:
		found.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
	}
	return found.Errors
}

func validateConfiguration(c *resourcev1.DeviceConfiguration, stored bool, at *field.Path) field.ErrorList {
	if c.Opaque == nil {
		return field.ErrorList{field.Required(at.Child("opaque"), "")}
	}
	at = at.Child("opaque")
	errs := validateDriver(c.Opaque.Driver, at.Child("driver"))
	most := resourcev1.OpaqueParametersMaxLength
	if stored {
		most = -1
	}
	return append(errs, validateData(c.Opaque.Parameters, most, at.Child("parameters"))...)
}

// validateData checks that something opaque is a JSON object of at most so many
// bytes; most is negative where there is no bound.
func validateData(data runtime.RawExtension, most int, at *field.Path) field.ErrorList {
	if len(data.Raw) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	if most >= 0 && len(data.Raw) > most {
		return field.ErrorList{field.TooLong(at, "", most)}
	}
	var value any
	if err := json.Unmarshal(data.Raw, &value); err != nil {
		return field.ErrorList{field.Invalid(at, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))}
	}
	switch value.(type) {
	case map[string]any:
		return nil
	case nil:
		return field.ErrorList{field.Required(at, "")}
	}
	return field.ErrorList{field.Invalid(at, "<value omitted>", "must be a valid JSON object")}
}

func taintEffects() []resourcev1.DeviceTaintEffect {
	return []resourcev1.DeviceTaintEffect{resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone}
}

func validateToleration(t *resourcev1.DeviceToleration, at *field.Path) field.ErrorList {
	var found problem.List
	if t.Key != "" {
		found.Add(metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			found.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
	case resourcev1.DeviceTolerationOpEqual:
		found.Messages(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))
	case "":
		found.Required(at.Child("operator"), "")
	default:
		problem.OneOf(&found, at.Child("operator"), t.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)
	}
	if t.Effect != "" {
		problem.OneOf(&found, at.Child("effect"), t.Effect, taintEffects()...)
	}
	return found.Errors
}
