package catalogue

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Focus chooses those behaviours that any of the words fit: a component's name, an area
// ("sig-apps"), an id, or a regular expression that matches id, title or promise. Without
// words it chooses all. A word that fits nothing is a mistake of whoever gave it.
func Focus(all []Behaviour, words []string) ([]Behaviour, error) {
	if len(words) == 0 {
		return all, nil
	}
	chosen := make([]bool, len(all))
	for _, word := range words {
		fits := fitter(all, word)
		found := false
		for i, b := range all {
			if fits(b) {
				chosen[i], found = true, true
			}
		}
		if !found {
			return nil, unfit(word)
		}
	}
	var some []Behaviour
	for i, b := range all {
		if chosen[i] {
			some = append(some, b)
		}
	}
	return some, nil
}

// unfit is the error of a word that no behaviour fits.
func unfit(word string) error {
	return fmt.Errorf("--focus: no behaviour has %q as component, area or id, or matches it; plumb conformance list shows them", word)
}

// fitter decides what a word means: the narrowest meaning that some behaviour has.
func fitter(all []Behaviour, word string) func(Behaviour) bool {
	for _, meaning := range []func(Behaviour) bool{
		func(b Behaviour) bool { return b.ID == word },
		func(b Behaviour) bool { return b.Area == word || b.Area == "sig-"+word },
		func(b Behaviour) bool { return slices.Contains(b.Components, word) },
	} {
		if slices.ContainsFunc(all, meaning) {
			return meaning
		}
	}
	// Code names hold brackets and parentheses, which people paste.
	matches := func(text string) bool { return strings.Contains(text, word) }
	if pattern, err := regexp.Compile(word); err == nil {
		matches = pattern.MatchString
	}
	quoted := strings.ToLower(word)
	return func(b Behaviour) bool {
		return matches(b.ID) || matches(b.Title) || matches(b.Promise) || strings.Contains(strings.ToLower(b.ID), quoted)
	}
}

// Judging chooses the behaviours that judge any of some components.
func Judging(all []Behaviour, components ...string) []Behaviour {
	var some []Behaviour
	for _, b := range all {
		if slices.ContainsFunc(b.Components, func(c string) bool { return slices.Contains(components, c) }) {
			some = append(some, b)
		}
	}
	return some
}

// Shard is one of several parts that together are the whole.
type Shard struct{ Index, Of int }

// ParseShard reads "2/5". Nothing is the whole.
func ParseShard(text string) (Shard, error) {
	if text == "" {
		return Shard{1, 1}, nil
	}
	index, of, ok := strings.Cut(text, "/")
	i, errIndex := strconv.Atoi(index)
	n, errOf := strconv.Atoi(of)
	if !ok || errIndex != nil || errOf != nil || i < 1 || n < i {
		return Shard{}, fmt.Errorf("--shard: %q is not I/N with 1 <= I <= N, such as 2/5", text)
	}
	return Shard{i, n}, nil
}

// String is what ParseShard reads.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Of) }

// Whole says whether the shard is everything.
func (s Shard) Whole() bool { return s.Of <= 1 }

// Choose returns the shard's part. Serial behaviours are dealt out by themselves, so that
// each part has as many of those that take longest.
func (s Shard) Choose(all []Behaviour) []Behaviour {
	if s.Whole() {
		return all
	}
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b Behaviour) int { return strings.Compare(a.ID, b.ID) })
	var some []Behaviour
	dealt := map[bool]int{}
	for _, b := range sorted {
		if dealt[b.Spec.Serial]%s.Of == s.Index-1 {
			some = append(some, b)
		}
		dealt[b.Spec.Serial]++
	}
	return some
}
