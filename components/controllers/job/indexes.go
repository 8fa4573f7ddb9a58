package job

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// span is the indexes from first to last.
type span struct{ first, last int }

// indexes is a set of completion indexes as sorted, separate spans; its text, like "1,3-5", is what a Job's status holds.
type indexes []span

// parseIndexes reads the text of a set, leaving out what is not below limit.
func parseIndexes(text string, limit int) indexes {
	var set indexes
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		last := first
		if ranged {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		if first < limit {
			set = append(set, span{first, min(last, limit-1)})
		}
	}
	return set
}

func (s indexes) String() string {
	parts := make([]string, len(s))
	for i, part := range s {
		parts[i] = strconv.Itoa(part.first)
		switch part.last - part.first {
		case 0:
		case 1:
			parts[i] += "," + strconv.Itoa(part.last)
		default:
			parts[i] += "-" + strconv.Itoa(part.last)
		}
	}
	return strings.Join(parts, ",")
}

func (s indexes) total() int {
	total := 0
	for _, part := range s {
		total += part.last - part.first + 1
	}
	return total
}

func (s indexes) has(index int) bool {
	_, found := slices.BinarySearchFunc(s, index, func(part span, index int) int {
		switch {
		case part.last < index:
			return -1
		case part.first > index:
			return 1
		}
		return 0
	})
	return found
}

// with returns the set with more indexes in it.
func (s indexes) with(more ...int) indexes {
	spans := slices.Clone(s)
	for _, index := range more {
		spans = append(spans, span{index, index})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	merged := spans[:0]
	for _, next := range spans {
		if last := len(merged) - 1; last >= 0 && next.first <= merged[last].last+1 {
			merged[last].last = max(merged[last].last, next.last)
		} else {
			merged = append(merged, next)
		}
	}
	return merged
}

// noIndex is the index of a pod that has none that parses.
const noIndex = -1

func indexOf(pod *corev1.Pod) int {
	index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || index < 0 {
		return noIndex
	}
	return index
}

func indexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

// failures is how often an index had failed before the pod was made: counted failures, and those that the pod failure
// policy ignores, which count for the back-off only.
func failures(pod *corev1.Pod) (counted, ignored int32) {
	read := func(annotation string) int32 {
		value, err := strconv.ParseInt(pod.Annotations[annotation], 10, 32)
		if err != nil {
			return 0
		}
		return int32(value)
	}
	return read(batchv1.JobIndexFailureCountAnnotation), read(batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// failuresAfter is the count that the replacement of a failed pod starts with.
func failuresAfter(job *batchv1.Job, pod *corev1.Pod) (counted, ignored int32) {
	counted, ignored = failures(pod)
	if verdictOn(job.Spec.PodFailurePolicy, pod).counts {
		return counted + 1, ignored
	}
	return counted, ignored + 1
}
