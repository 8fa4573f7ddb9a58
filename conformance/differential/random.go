package differential

import (
	"math/rand/v2"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dice is a source of choices that a seed repeats.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 0))} }

// chance is true so many times in a hundred.
func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

// between is a number from low to high, both included.
func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// some picks each with the chance.
func some[T any](d dice, percent int, from ...T) []T {
	var list []T
	for _, each := range from {
		if d.chance(percent) {
			list = append(list, each)
		}
	}
	return list
}

func ref[T any](v T) *T { return &v }

// podSelector selects pods by the labels that podLabels gives.
func (d dice) podSelector() *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	switch d.IntN(10) {
	case 0:
		return s // every pod
	case 1:
		return nil // none
	case 2, 3:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{
			Key: pick(d, "app", "tier", "version"), Operator: pick(d, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn),
			Values: []string{pick(d, apps...), pick(d, "v1", "v2", "front")},
		}}
	case 4:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{
			Key: pick(d, "tier", "version"), Operator: pick(d, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist),
		}}
	default:
		s.MatchLabels = map[string]string{"app": pick(d, apps...)}
	}
	return s
}

var apps = []string{"web", "db", "cache"}

func (d dice) podLabels() map[string]string {
	labels := map[string]string{}
	if d.chance(85) {
		labels["app"] = pick(d, apps...)
	}
	if d.chance(40) {
		labels["tier"] = pick(d, "front", "back")
	}
	if d.chance(40) {
		labels["version"] = pick(d, "v1", "v2")
	}
	return labels
}
