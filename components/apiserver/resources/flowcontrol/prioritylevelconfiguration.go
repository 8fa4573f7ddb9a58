package flowcontrol

import (
	"context"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const mostQueues int32 = 10_000_000

// preserveZeroShares is an annotation of v1beta3 that has no meaning any more.
const preserveZeroShares = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"

// PriorityLevelConfigurations say how much of the server a level may use.
func PriorityLevelConfigurations() *resource.Definition[*flowcontrolv1.PriorityLevelConfiguration] {
	queuing := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return &resource.Definition[*flowcontrolv1.PriorityLevelConfiguration]{
		Identity: resource.Identity{
			GroupVersion: flowcontrolv1.SchemeGroupVersion,
			Kind:         "PriorityLevelConfiguration", Name: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
			ClusterScoped: true,
		},
		New:     func() *flowcontrolv1.PriorityLevelConfiguration { return &flowcontrolv1.PriorityLevelConfiguration{} },
		NewList: func() runtime.Object { return &flowcontrolv1.PriorityLevelConfigurationList{} },
		Default: defaultLevel,
		Validate: func(_ context.Context, l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
			return validateLevel(l)
		},
		ValidateUpdate: func(_ context.Context, l, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
			return validateLevel(l)
		},
		Spec:             func(l *flowcontrolv1.PriorityLevelConfiguration) any { return &l.Spec },
		TracksGeneration: true,
		Status:           func(l *flowcontrolv1.PriorityLevelConfiguration) any { return &l.Status },
		StatusResets:     []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate: func(_ context.Context, l, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
			var types []string
			for _, c := range l.Status.Conditions {
				types = append(types, string(c.Type))
			}
			return validateConditionTypes(types)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"]),
			table.String("NominalConcurrencyShares", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"]),
			table.String("Queues", queuing["queues"]),
			table.String("HandSize", queuing["handSize"]),
			table.String("QueueLengthLimit", queuing["queueLengthLimit"]),
			table.Age(),
		},
		Cells: func(l *flowcontrolv1.PriorityLevelConfiguration) []any {
			var shares, queues, hand, length any = table.None, table.None, table.None, table.None
			if limited := l.Spec.Limited; limited != nil {
				shares = ptr.Deref(limited.NominalConcurrencyShares, 0)
				if q := limited.LimitResponse.Queuing; q != nil {
					queues, hand, length = q.Queues, q.HandSize, q.QueueLengthLimit
				}
			}
			return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, table.Since(l.CreationTimestamp)}
		},
	}
}

func defaultLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	orElse := func(target **int32, value int32) {
		if *target == nil {
			*target = &value
		}
	}
	if exempt := l.Spec.Exempt; exempt != nil {
		orElse(&exempt.NominalConcurrencyShares, 0)
		orElse(&exempt.LendablePercent, 0)
	}
	limited := l.Spec.Limited
	if limited == nil {
		return
	}
	orElse(&limited.NominalConcurrencyShares, 30)
	orElse(&limited.LendablePercent, 0)
	if q := limited.LimitResponse.Queuing; q != nil {
		for _, unset := range []struct {
			target *int32
			value  int32
		}{{&q.HandSize, 8}, {&q.Queues, 64}, {&q.QueueLengthLimit, 50}} {
			if *unset.target == 0 {
				*unset.target = unset.value
			}
		}
	}
}

func validateLevel(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var found problem.List
	if _, there := l.Annotations[preserveZeroShares]; there {
		found.Forbidden(field.NewPath("metadata", "annotations"), fmt.Sprintf("annotation '%s' is forbidden", preserveZeroShares))
	}
	spec, at := &l.Spec, field.NewPath("spec")
	if (l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (spec.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		found.Invalid(at.Child("type"), spec.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch spec.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if spec.Limited != nil {
			found.Forbidden(at.Child("limited"), "must be nil if the type is not Limited")
		}
		if exempt := spec.Exempt; exempt != nil {
			found.Add(validateShares(exempt.NominalConcurrencyShares, exempt.LendablePercent, at.Child("exempt"))...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if spec.Exempt != nil {
			found.Forbidden(at.Child("exempt"), "must be nil if the type is Limited")
		}
		if spec.Limited == nil {
			found.Required(at.Child("limited"), "must not be empty when type is Limited")
		} else {
			found.Add(validateLimited(spec.Limited, at.Child("limited"))...)
		}
	case "":
		found.Required(at.Child("type"), "")
	default:
		problem.OneOf(&found, at.Child("type"), spec.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	}
	found.Add(validateMandatory(l, at)...)
	return found.Errors
}

// validateMandatory holds the levels that the server itself relies on as they are.
func validateMandatory(l *flowcontrolv1.PriorityLevelConfiguration, at *field.Path) field.ErrorList {
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		if fixed.Name != l.Name {
			continue
		}
		have, detail := l.Spec.DeepCopy(), "spec of '%s' must equal the fixed value"
		if l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			// How many shares exempt requests count for is the administrator's to say.
			have.Exempt, detail = fixed.Spec.Exempt, "spec of '%s' except the 'spec.exempt' field must equal the fixed value"
		}
		if !apiequality.Semantic.DeepEqual(*have, fixed.Spec) {
			return field.ErrorList{field.Invalid(at, l.Spec, fmt.Sprintf(detail, l.Name))}
		}
	}
	return nil
}

func validateShares(shares, lendable *int32, at *field.Path) field.ErrorList {
	var found problem.List
	if n := ptr.Deref(shares, 0); n < 0 {
		found.Invalid(at.Child("nominalConcurrencyShares"), n, "must be a non-negative integer")
	}
	if percent := ptr.Deref(lendable, 0); percent < 0 || percent > 100 {
		found.Invalid(at.Child("lendablePercent"), percent, "must be between 0 and 100, inclusive")
	}
	return found.Errors
}

func validateLimited(limited *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) field.ErrorList {
	found := problem.List{Errors: validateShares(limited.NominalConcurrencyShares, limited.LendablePercent, at)}
	if n := ptr.Deref(limited.BorrowingLimitPercent, 0); n < 0 {
		found.Invalid(at.Child("borrowingLimitPercent"), n, "if specified, must be a non-negative integer")
	}
	response, at := limited.LimitResponse, at.Child("limitResponse")
	if response.Type != flowcontrolv1.LimitResponseTypeQueue && response.Queuing != nil {
		found.Forbidden(at.Child("queuing"), "")
	}
	switch response.Type {
	case flowcontrolv1.LimitResponseTypeReject:
	case flowcontrolv1.LimitResponseTypeQueue:
		if response.Queuing == nil {
			found.Required(at.Child("queuing"), "must not be empty if limited.limitResponse.type is Limited")
		} else {
			found.Add(validateQueuing(response.Queuing, at.Child("queuing"))...)
		}
	case "":
		found.Required(at.Child("type"), "")
	default:
		problem.OneOf(&found, at.Child("type"), response.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
	return found.Errors
}

func validateQueuing(q *flowcontrolv1.QueuingConfiguration, at *field.Path) field.ErrorList {
	var found problem.List
	if q.QueueLengthLimit <= 0 {
		found.Invalid(at.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	if q.Queues <= 0 {
		found.Invalid(at.Child("queues"), q.Queues, "must be positive")
	} else if q.Queues > mostQueues {
		found.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", mostQueues))
	}
	switch hand := at.Child("handSize"); {
	case q.HandSize <= 0:
		found.Invalid(hand, q.HandSize, "must be positive")
	case q.HandSize > q.Queues:
		found.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	case shufflesharding.RequiredEntropyBits(int(q.Queues), int(q.HandSize)) > shufflesharding.MaxHashBits:
		found.Invalid(hand, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d",
			q.Queues, q.HandSize, shufflesharding.MaxHashBits))
	}
	return found.Errors
}
