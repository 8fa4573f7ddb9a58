package differential

import (
	"fmt"
	"maps"
	"slices"
)

// Compare words every difference between two verdicts on a pod.
func Compare(ours, theirs Verdict) []string {
	var found []string
	differ := func(what string, a, b any) {
		found = append(found, fmt.Sprintf("%s: ours %v, theirs %v", what, a, b))
	}
	if ours.Error != theirs.Error {
		differ("error", ours.Error, theirs.Error)
	}
	if a, b := ours.Rejected, theirs.Rejected; a == nil != (b == nil) || a != nil && !a.equal(*b) {
		differ("rejection of the pod", a, b)
	}
	for _, name := range union(ours.Nodes, theirs.Nodes) {
		a, rejects := ours.Nodes[name]
		b, reject := theirs.Nodes[name]
		if rejects != reject || !a.equal(b) {
			differ("node "+name, a, b)
		}
	}
	for _, name := range union(ours.Feasible, theirs.Feasible) {
		a, fits := ours.Feasible[name]
		b, fit := theirs.Feasible[name]
		switch {
		case fits != fit:
			differ("node "+name+" is feasible", fits, fit)
		case a.Total != b.Total || !maps.Equal(a.Plugin, b.Plugin):
			differ("score of node "+name, a, b)
		}
	}
	return found
}

func (s Status) equal(other Status) bool {
	return s.Code == other.Code && s.Plugin == other.Plugin && slices.Equal(s.Reasons, other.Reasons)
}

// String is the status in a line.
func (s Status) String() string {
	if s.Code == "" {
		return "none"
	}
	return fmt.Sprintf("%s by %s %q", s.Code, s.Plugin, s.Reasons)
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// best returns the first by name of the nodes with the highest score.
func (v Verdict) best() string {
	winner := ""
	for _, name := range slices.Sorted(maps.Keys(v.Feasible)) {
		if winner == "" || v.Feasible[name].Total > v.Feasible[winner].Total {
			winner = name
		}
	}
	return winner
}
