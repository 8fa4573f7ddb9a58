package dra

import (
	"context"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// DeviceTaintRules taint devices from outside the driver.
func DeviceTaintRules() *resource.Definition[*resourcev1.DeviceTaintRule] {
	docs := resourcev1.DeviceTaint{}.SwaggerDoc()
	return &resource.Definition[*resourcev1.DeviceTaintRule]{
		Identity: resource.Identity{
			GroupVersion: resourcev1.SchemeGroupVersion, StoredAs: resourcev1beta2.SchemeGroupVersion,
			Kind: "DeviceTaintRule", Name: "devicetaintrules", Singular: "devicetaintrule",
			ClusterScoped: true,
		},
		New:     func() *resourcev1.DeviceTaintRule { return &resourcev1.DeviceTaintRule{} },
		NewList: func() runtime.Object { return &resourcev1.DeviceTaintRuleList{} },
		Default: func(r *resourcev1.DeviceTaintRule) { defaultTaint(&r.Spec.Taint) },
		PrepareForUpdate: func(_ context.Context, r, old *resourcev1.DeviceTaintRule) {
			now, was := &r.Spec.Taint, &old.Spec.Taint
			// Tolerations for a time count from when the effect began.
			if now.Effect != was.Effect && now.TimeAdded.Equal(was.TimeAdded) {
				now.TimeAdded = nil
				defaultTaint(now)
			}
		},
		Validate: func(_ context.Context, r *resourcev1.DeviceTaintRule) field.ErrorList {
			return validateTaintRule(&r.Spec, nil)
		},
		ValidateUpdate: func(_ context.Context, r, old *resourcev1.DeviceTaintRule) field.ErrorList {
			return validateTaintRule(&r.Spec, &old.Spec)
		},
		RequireVersionOnUpdate: true,
		Spec:                   func(r *resourcev1.DeviceTaintRule) any { return &r.Spec },
		TracksGeneration:       true,
		Status:                 func(r *resourcev1.DeviceTaintRule) any { return &r.Status },
		StatusResets:           []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate: func(_ context.Context, r, _ *resourcev1.DeviceTaintRule) field.ErrorList {
			at := field.NewPath("status", "conditions")
			errs := metav1validation.ValidateConditions(r.Status.Conditions, at)
			if n := len(r.Status.Conditions); n > resourcev1.DeviceTaintRuleStatusMaxConditions {
				errs = append(errs, field.TooMany(at, n, resourcev1.DeviceTaintRuleStatusMaxConditions))
			}
			return errs
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Key", docs["key"]),
			table.String("Value", docs["value"]),
			table.String("Effect", docs["effect"]),
			table.String("TimeAdded", docs["timeAdded"]),
			table.Age(),
		},
		Cells: func(r *resourcev1.DeviceTaintRule) []any {
			taint, added := &r.Spec.Taint, ""
			if taint.TimeAdded != nil {
				added = table.Since(*taint.TimeAdded)
			}
			return []any{r.Name, taint.Key, taint.Value, string(taint.Effect), added, table.Since(r.CreationTimestamp)}
		},
	}
}

// defaultTaint notes when a taint was added, in the seconds that are stored.
func defaultTaint(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		t.TimeAdded = &metav1.Time{Time: time.Now().Truncate(time.Second)}
	}
}

func validateTaintRule(spec, old *resourcev1.DeviceTaintRuleSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	if s, at := spec.DeviceSelector, at.Child("deviceSelector"); s != nil {
		if s.Driver != nil {
			found.Add(volume.ValidateDriverName(*s.Driver, at.Child("driver"))...)
		}
		if s.Pool != nil {
			found.Add(validatePoolName(*s.Pool, at.Child("pool"))...)
		}
		if s.Device != nil {
			label(&found, at.Child("device"), *s.Device)
		}
	}
	var oldTaint *resourcev1.DeviceTaint
	if old != nil {
		oldTaint = &old.Taint
	}
	found.Add(validateTaint(&spec.Taint, oldTaint, at.Child("taint"))...)
	return found.Errors
}

func validateTaint(t, old *resourcev1.DeviceTaint, at *field.Path) field.ErrorList {
	var found problem.List
	found.Add(metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
	if t.Value != "" {
		found.Messages(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))
	}
	if old != nil && old.Effect == t.Effect {
		return found.Errors
	}
	if t.Effect == "" {
		found.Required(at.Child("effect"), "")
	} else {
		problem.OneOf(&found, at.Child("effect"), t.Effect, taintEffects()...)
	}
	return found.Errors
}
