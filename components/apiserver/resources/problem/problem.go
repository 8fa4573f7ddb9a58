// Package problem collects what is wrong with an object, field by field, so that
// validation reads as a list of rules.
package problem

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// MultipleTypes is said where more than one member of a union is set.
const MultipleTypes = "may not specify more than 1 %s type"

// List is what was found so far. The zero value is empty and ready to use.
type List struct {
	Errors field.ErrorList
}

// Add appends what another check found.
func (l *List) Add(errs ...*field.Error) {
	for _, err := range errs {
		if err != nil {
			l.Errors = append(l.Errors, err)
		}
	}
}

// Required says that the field must have a value.
func (l *List) Required(at *field.Path, detail string) { l.Add(field.Required(at, detail)) }

// Invalid says that the value does not obey the field's rules.
func (l *List) Invalid(at *field.Path, value any, detail string) {
	l.Add(field.Invalid(at, value, detail))
}

// Forbidden says that the field may not be set here.
func (l *List) Forbidden(at *field.Path, detail string) { l.Add(field.Forbidden(at, detail)) }

// Duplicate says that the value stands in the list already.
func (l *List) Duplicate(at *field.Path, value any) { l.Add(field.Duplicate(at, value)) }

// Messages adds one Invalid for each message: what the string validators of
// apimachinery return.
func (l *List) Messages(at *field.Path, value any, messages []string) {
	for _, m := range messages {
		l.Invalid(at, value, m)
	}
}

// NonEmpty requires a string.
func (l *List) NonEmpty(at *field.Path, value string) {
	if value == "" {
		l.Required(at, "")
	}
}

// Within checks the inclusive bounds of a number, and says detail where it is outside.
func (l *List) Within(at *field.Path, value, low, high int64, detail string) {
	if value < low || value > high {
		l.Invalid(at, value, detail)
	}
}

// NotNegative checks a number that may be zero.
func (l *List) NotNegative(at *field.Path, value int64) {
	if value < 0 {
		l.Add(field.Invalid(at, value, "must be greater than or equal to 0").WithOrigin("minimum"))
	}
}

// Positive checks a number that may not be zero.
func (l *List) Positive(at *field.Path, value int64) {
	if value <= 0 {
		l.Add(field.Invalid(at, value, "must be greater than zero").WithOrigin("minimum"))
	}
}

// OneOf checks a value against the closed set of those that are supported.
func OneOf[T ~string](l *List, at *field.Path, value T, supported ...T) {
	for _, s := range supported {
		if s == value {
			return
		}
	}
	l.Add(field.NotSupported(at, value, supported))
}

// Choice follows a union, of which one member has to be set. Each member is offered
// in turn; members after the first that is set are refused.
type Choice struct {
	// Problems is where refusals go.
	Problems *List
	// What names the union in messages: "volume", "handler".
	What string

	taken bool
}

// Offer notes a member: set says whether the object has it. It reports whether the
// caller should look into it.
func (c *Choice) Offer(set bool, at *field.Path) bool {
	if !set {
		return false
	}
	if c.taken {
		c.Problems.Forbidden(at, fmt.Sprintf(MultipleTypes, c.What))
		return false
	}
	c.taken = true
	return true
}

// None reports whether no member was set.
func (c *Choice) None() bool { return !c.taken }

// OnlyFields refuses fields of a struct that are set and not among the allowed ones,
// which are given by their Go names; the refused ones are shown by their JSON names.
func OnlyFields(value any, at *field.Path, detail string, allowed ...string) field.ErrorList {
	var found List
	v := reflect.ValueOf(value)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if slices.Contains(allowed, f.Name) || v.Field(i).IsZero() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		found.Forbidden(at.Child(name), detail)
	}
	return found.Errors
}
