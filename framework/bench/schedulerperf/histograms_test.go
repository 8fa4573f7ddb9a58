package schedulerperf

import (
	"bytes"
	"testing"
)

// FuzzHistograms reads any text as a scheduler's metrics, which may be anybody's.
func FuzzHistograms(f *testing.F) {
	const text = "# TYPE scheduler_plugin_execution_duration_seconds histogram\n" +
		"scheduler_plugin_execution_duration_seconds_bucket{plugin=\"a\",le=\"0.1\"} 2\n" +
		"scheduler_plugin_execution_duration_seconds_bucket{plugin=\"a\",le=\"+Inf\"} 3\n" +
		"scheduler_plugin_execution_duration_seconds_sum{plugin=\"a\"} 0.5\n" +
		"scheduler_plugin_execution_duration_seconds_count{plugin=\"a\"} 3\n"
	f.Add([]byte(text), []byte(text))
	f.Add([]byte("# TYPE x histogram\nx_bucket{le=\"NaN\"} -1\nx_count 1e400\n"), []byte(text))
	f.Add([]byte(""), []byte("# TYPE a histogram\n{}")) // the library panics
	f.Fuzz(func(_ *testing.T, before, after []byte) {
		earlier, err := parseHistograms(bytes.NewReader(before))
		if err != nil {
			return
		}
		later, err := parseHistograms(bytes.NewReader(after))
		if err != nil {
			return
		}
		later.since(earlier, []string{"x"})
	})
}
