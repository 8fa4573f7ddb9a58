// Package normalize scales plugin scores to the range the framework wants.
package normalize

import fwk "k8s.io/kube-scheduler/framework"

// ToMax scales the scores so that the highest becomes 100; reversed, what was highest becomes 0 and 0 becomes 100.
func ToMax(scores fwk.NodeScoreList, reverse bool) {
	var highest int64
	for i := range scores {
		highest = max(highest, scores[i].Score)
	}
	for i := range scores {
		scaled := scores[i].Score
		if highest > 0 {
			scaled = fwk.MaxScore * scaled / highest
		}
		if reverse {
			scaled = fwk.MaxScore - scaled
		}
		scores[i].Score = scaled
	}
}
