package core

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	amount "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// LimitRanges bound what a single container, pod or claim may ask for.
// https://kubernetes.io/docs/concepts/policy/limit-range/
func LimitRanges() *resource.Definition[*corev1.LimitRange] {
	return &resource.Definition[*corev1.LimitRange]{
		Identity: identity("LimitRange", "limitranges", "limitrange", "limits"),
		New:      func() *corev1.LimitRange { return new(corev1.LimitRange) },
		NewList:  func() runtime.Object { return new(corev1.LimitRangeList) },
		Default: func(l *corev1.LimitRange) {
			for i := range l.Spec.Limits {
				defaultLimits(&l.Spec.Limits[i])
			}
		},
		PrepareForCreate: func(_ context.Context, l *corev1.LimitRange) {
			if l.Name == "" {
				l.Name = string(uuid.NewUUID())
			}
		},
		Validate:            func(_ context.Context, l *corev1.LimitRange) field.ErrorList { return validateLimits(l) },
		ValidateUpdate:      func(_ context.Context, l, _ *corev1.LimitRange) field.ErrorList { return validateLimits(l) },
		AllowCreateOnUpdate: true,
	}
}

// defaultLimits completes what containers get that ask for nothing: the limit from the
// maximum, the request from the limit, else from the minimum.
func defaultLimits(l *corev1.LimitRangeItem) {
	if l.Type == corev1.LimitTypeContainer {
		l.Default = filled(l.Default, l.Max)
		l.DefaultRequest = filled(filled(l.DefaultRequest, l.Default), l.Min)
	}
	for _, list := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
		volume.RoundUp(list)
	}
}

func filled(list, from corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		list = corev1.ResourceList{}
	}
	for name, q := range from {
		if _, given := list[name]; !given {
			list[name] = q.DeepCopy()
		}
	}
	return list
}

func validateLimits(l *corev1.LimitRange) field.ErrorList {
	var found problem.List
	seen := map[corev1.LimitType]bool{}
	for i := range l.Spec.Limits {
		item, at := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		limitType(&found, at.Child("type"), item.Type)
		if seen[item.Type] {
			found.Duplicate(at.Child("type"), item.Type)
		}
		seen[item.Type] = true
		validateLimitItem(&found, at, item)
	}
	return found.Errors
}

func limitType(found *problem.List, at *field.Path, t corev1.LimitType) {
	messages := validation.IsQualifiedName(string(t))
	found.Messages(at, t, messages)
	known := []corev1.LimitType{corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim}
	if messages == nil && !strings.Contains(string(t), "/") && !slices.Contains(known, t) {
		found.Invalid(at, t, "must be a standard limit type or fully qualified")
	}
}

// bounds are the limits of one resource within an item.
type bounds struct {
	*problem.List
	at   *field.Path
	name corev1.ResourceName
	item *corev1.LimitRangeItem
}

func validateLimitItem(found *problem.List, at *field.Path, item *corev1.LimitRangeItem) {
	names := map[corev1.ResourceName]bool{}
	check := quantity.ValidateName
	if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
		check = quantity.ValidateContainerName
	}
	for _, part := range []struct {
		field  string
		list   corev1.ResourceList
		forPod bool
	}{
		{"max", item.Max, true}, {"min", item.Min, true}, {"default", item.Default, false},
		{"defaultRequest", item.DefaultRequest, false}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio, true},
	} {
		if item.Type == corev1.LimitTypePod && !part.forPod {
			if len(part.list) > 0 {
				found.Forbidden(at.Child(part.field), "may not be specified when `type` is 'Pod'")
			}
			continue
		}
		for name := range part.list {
			found.Add(check(name, at.Child(part.field).Key(string(name)))...)
			names[name] = true
		}
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := item.Min[corev1.ResourceStorage]
		_, most := item.Max[corev1.ResourceStorage]
		if !least && !most {
			found.Required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	for name := range names {
		bounds{found, at, name, item}.check()
	}
}

func (b bounds) check() {
	min, max := b.of(b.item.Min), b.of(b.item.Max)
	limit, request := b.of(b.item.Default), b.of(b.item.DefaultRequest)
	if b.item.Type == corev1.LimitTypePod {
		limit, request = nil, nil
	}
	b.ordered("min", min, side{"min value", min}, side{"max value", max})
	b.ordered("defaultRequest", request, side{"min value", min}, side{"default request value", request})
	b.ordered("defaultRequest", request, side{"default request value", request}, side{"max value", max})
	b.ordered("defaultRequest", request, side{"default request value", request}, side{"default limit value", limit})
	b.ordered("default", min, side{"min value", min}, side{"default value", limit})
	b.ordered("default", max, side{"default value", limit}, side{"max value", max})
	if ratio := b.of(b.item.MaxLimitRequestRatio); ratio != nil {
		b.ratio(*ratio, min, max)
	}
	if limit != nil && request != nil && !quantity.MayOvercommit(b.name) && limit.Cmp(*request) != 0 {
		b.Invalid(b.at.Child("defaultRequest").Key(string(b.name)), *request,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit, request, b.name))
	}
}

func (b bounds) of(list corev1.ResourceList) *amount.Quantity {
	if q, given := list[b.name]; given {
		return &q
	}
	return nil
}

// side is one side of a comparison; an absent one is never wrong.
type side struct {
	name   string
	amount *amount.Quantity
}

// ordered requires low not to exceed high.
func (b bounds) ordered(where string, shown *amount.Quantity, low, high side) {
	if low.amount != nil && high.amount != nil && low.amount.Cmp(*high.amount) > 0 {
		b.Invalid(b.at.Child(where).Key(string(b.name)), *shown,
			fmt.Sprintf("%s %s is greater than %s %s", low.name, low.amount, high.name, high.amount))
	}
}

func (b bounds) ratio(ratio amount.Quantity, min, max *amount.Quantity) {
	at := b.at.Child("maxLimitRequestRatio").Key(string(b.name))
	if ratio.Cmp(*amount.NewQuantity(1, amount.DecimalSI)) < 0 {
		b.Invalid(at, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String()))
	}
	if min == nil || max == nil {
		return
	}
	if widest := max.AsApproximateFloat64() / min.AsApproximateFloat64(); ratio.AsApproximateFloat64() > widest {
		b.Invalid(at, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), widest))
	}
}
