package catalogue

import (
	"fmt"
	"slices"
	"strings"
)

// Part is what is run of one suite.
type Part struct {
	// Suite is Kubernetes or Plumbline.
	Suite string
	// Focus are those of the words that mean something in this suite.
	Focus []string
	// Behaviours were chosen by them.
	Behaviours []Behaviour
}

// Parts chooses from each suite what any of the words fit and what judges any of the
// components. A suite of which nothing is left has no part. A word has to mean something
// in one suite, not in all of them.
func Parts(all []Behaviour, words, components []string) ([]Part, error) {
	var suites []string
	bySuite := map[string][]Behaviour{}
	for _, b := range all {
		if _, known := bySuite[b.Suite]; !known {
			suites = append(suites, b.Suite)
		}
		bySuite[b.Suite] = append(bySuite[b.Suite], b)
	}
	var parts []Part
	meant := map[string]bool{}
	for _, name := range suites {
		part := Part{Suite: name}
		for _, word := range words {
			if slices.ContainsFunc(bySuite[name], fitter(bySuite[name], word)) {
				part.Focus = append(part.Focus, word)
				meant[word] = true
			}
		}
		if len(words) > 0 && len(part.Focus) == 0 {
			continue
		}
		focused, err := Focus(bySuite[name], part.Focus)
		if err != nil {
			return nil, err
		}
		if part.Behaviours = Judging(focused, components...); len(part.Behaviours) > 0 {
			parts = append(parts, part)
		}
	}
	for _, word := range words {
		if !meant[word] {
			return nil, unfit(word)
		}
	}
	if len(parts) == 0 {
		judged := strings.Join(components, " or ")
		if len(words) == 0 {
			return nil, fmt.Errorf("--component: no behaviour judges %s", judged)
		}
		return nil, fmt.Errorf("--focus: no behaviour that it chooses judges %s; plumb conformance list shows what each judges", judged)
	}
	return parts, nil
}
