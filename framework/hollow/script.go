package hollow

import (
	"fmt"
	"hash/fnv"
	"path"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

// script is what pods do, made ready for use.
type script struct {
	rules []*rule
	// usual is for pods that match none.
	usual *rule
	seed  uint64
}

// rule is one rule with its selector parsed.
type rule struct {
	v1alpha1.Rule
	labels labels.Selector
}

func newScript(spec *v1alpha1.Spec) (*script, error) {
	s := &script{usual: &rule{}, seed: spec.Seed}
	for i, declared := range spec.Pods {
		compiled := &rule{Rule: declared, labels: labels.Everything()}
		if declared.Match.Labels != nil {
			var err error
			if compiled.labels, err = metav1.LabelSelectorAsSelector(declared.Match.Labels); err != nil {
				return nil, fmt.Errorf("pods[%d].match.labels: %w", i, err)
			}
		}
		s.rules = append(s.rules, compiled)
	}
	return s, nil
}

// of is the rule that a pod follows.
func (s *script) of(pod *corev1.Pod) *rule {
	for _, r := range s.rules {
		if fits(r.Match.Namespaces, pod.Namespace) && fits(r.Match.Nodes, pod.Spec.NodeName) && r.labels.Matches(labels.Set(pod.Labels)) {
			return r
		}
	}
	return s.usual
}

// fits tells whether one of the patterns does; no pattern at all fits everything.
func fits(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		matched, _ := path.Match(pattern, name)
		return matched
	})
}

// draw is the length of a span for somebody. What it is for and how often it was asked
// for keep the draws of one name apart.
func (s *script) draw(span v1alpha1.Span, name, what string, turn int32) time.Duration {
	if span.From == span.To {
		return span.From
	}
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%d/%s/%s/%d", s.seed, name, what, turn)
	const bits = 53
	return span.Draw(float64(mix(sum.Sum64())>>(64-bits)) / (1 << bits))
}

// mix spreads a sum over all its bits: the names' last letters, by which they differ, have
// little effect on the upper ones.
func mix(x uint64) uint64 {
	x ^= x >> 31
	x *= 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xff51afd7ed558ccd
	return x ^ x>>32
}

// exitCode is that of a container's n-th run, from 0.
func (r *rule) exitCode(run int32) int32 {
	if len(r.ExitCodes) == 0 {
		return 0
	}
	return r.ExitCodes[min(int(run), len(r.ExitCodes)-1)]
}

// backoff is the pause after a container's n-th run, from 0.
func (s *script) backoff(r *rule, name string, run int32) time.Duration {
	if r.RestartAfter != nil {
		return s.draw(*r.RestartAfter, name, "restart", run)
	}
	const first, most, steps = 10 * time.Second, 5 * time.Minute, 5
	return min(first<<min(run, steps), most)
}
