package batch

import (
	"fmt"
	"strconv"
	"strings"
)

// span is a run of indexes, both ends included.
type span struct{ first, last int32 }

// parseIndexes reads a list such as "1,3-5,7" of indexes below completions, which
// must rise. On an error it returns nothing.
func parseIndexes(text string, completions int32) ([]span, error) {
	if text == "" {
		return nil, nil
	}
	var spans []span
	for part := range strings.SplitSeq(text, ",") {
		s, err := parseSpan(part, completions)
		if err != nil {
			return nil, err
		}
		if n := len(spans); n > 0 && spans[n-1].last >= s.first {
			return nil, notRising(spans[n-1].last, s.first)
		}
		spans = append(spans, s)
	}
	return spans, nil
}

func parseSpan(text string, completions int32) (span, error) {
	from, to, isRange := strings.Cut(text, "-")
	if strings.Contains(to, "-") {
		return span{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	first, err := parseIndex(from, completions)
	if err != nil || !isRange {
		return span{first, first}, err
	}
	last, err := parseIndex(to, completions)
	if err == nil && first >= last {
		err = notRising(first, last)
	}
	return span{first, last}, err
}

func parseIndex(text string, completions int32) (int32, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	if n >= int(completions) {
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return int32(n), nil
}

func notRising(previous, current int32) error {
	return fmt.Errorf("non-increasing order, previous: %d, current: %d", previous, current)
}

// total is how many indexes the spans hold.
func total(spans []span) (n int32) {
	for _, s := range spans {
		n += s.last - s.first + 1
	}
	return n
}

// validSpans are the parts of a list that can be read; the others are reported elsewhere.
func validSpans(text string, completions int32) (spans []span) {
	for part := range strings.SplitSeq(text, ",") {
		if s, err := parseSpan(part, completions); err == nil {
			spans = append(spans, s)
		}
	}
	return spans
}

// overlap finds the first index that two lists share.
func overlap(a, b []span) (int32, bool) {
	for len(a) > 0 && len(b) > 0 {
		if first := max(a[0].first, b[0].first); first <= min(a[0].last, b[0].last) {
			return first, true
		}
		if a[0].last < b[0].last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return 0, false
}
