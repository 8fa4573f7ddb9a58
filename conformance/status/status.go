// Package status writes the page that shows where our components stand: a table of
// areas, and each behaviour that does not hold with the reason for it.
package status

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/conformance/report"
)

// Reasons say why behaviours fail, as far as somebody has looked: by behaviour, or by a
// prefix of several ends with "*".
type Reasons map[string]string

// ReadReasons reads a file of reasons.
func ReadReasons(path string) (Reasons, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var reasons Reasons
	if err := yaml.UnmarshalStrict(data, &reasons); err != nil {
		return nil, fmt.Errorf("%s: %w: it maps behaviours to reasons", path, err)
	}
	return reasons, nil
}

// Of is the reason for a behaviour's failure. The longest prefix counts.
func (r Reasons) Of(behaviour string) (string, bool) {
	if reason, ok := r[behaviour]; ok {
		return reason, true
	}
	best := ""
	for key := range r {
		if prefix, ok := strings.CutSuffix(key, "*"); ok && strings.HasPrefix(behaviour, prefix) && len(key) > len(best) {
			best = key
		}
	}
	reason, ok := r[best]
	return reason, ok
}

// Stale are the reasons for behaviours that hold, or that nobody knows.
func (r Reasons) Stale(results report.Results) []string {
	var stale []string
	for key := range r {
		prefix, several := strings.CutSuffix(key, "*")
		used := slices.ContainsFunc(results.Results, func(result report.Result) bool {
			return !result.Verdict.Holds() && (result.Behaviour == key || several && strings.HasPrefix(result.Behaviour, prefix))
		})
		if !used {
			stale = append(stale, key)
		}
	}
	slices.Sort(stale)
	return stale
}

type row struct {
	Area                                    string
	Behaviours, Hold, Flaked, Fail, Skipped int
}

type failure struct {
	Behaviour, Components, Reason string
	// Known says that somebody gave the reason; otherwise it is what the spec said.
	Known bool
}

type section struct {
	Area     string
	Failures []failure
}

// Page is the page as Markdown.
func Page(results report.Results, reasons Reasons) (string, error) {
	var rows []row
	var sections []section
	for _, result := range results.Results {
		if len(rows) == 0 || rows[len(rows)-1].Area != result.Area {
			rows = append(rows, row{Area: result.Area})
			sections = append(sections, section{Area: result.Area})
		}
		r, s := &rows[len(rows)-1], &sections[len(sections)-1]
		r.Behaviours++
		switch result.Verdict {
		case report.Passed, report.Flaked:
			r.Hold++
			if result.Verdict == report.Flaked {
				r.Flaked++
			}
			continue
		case report.Skipped:
			r.Skipped++
		default:
			r.Fail++
		}
		reason, known := reasons.Of(result.Behaviour)
		if !known {
			reason = report.FirstLine(result.Failure)
		}
		s.Failures = append(s.Failures, failure{inline(result.Behaviour), strings.Join(result.Components, ", "), inline(reason), known})
	}
	sections = slices.DeleteFunc(sections, func(s section) bool { return len(s.Failures) == 0 })
	var page strings.Builder
	err := template.Must(template.New("").Parse(text)).Execute(&page, map[string]any{
		"Results": results, "Rows": rows, "Sections": sections,
		"Day":  results.Ended.UTC().Format(time.DateOnly),
		"Time": time.Duration(results.Busy * float64(time.Second)).Round(time.Second).String(),
	})
	return page.String(), err
}

// inline keeps a text from being taken for Markdown.
func inline(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "`", "'", "|", `\|`, "<", "&lt;").Replace(text)
}

const text = `# Where our components stand

Generated from a run by ` + "`plumb conformance status`" + `; do not edit. Reasons are kept in [reasons.yaml](reasons.yaml).

{{with .Results}}**{{.Totals.Held}} of {{.Totals.Chosen}}** behaviours of Kubernetes' conformance suite hold{{if .Totals.Flaked}} ({{.Totals.Flaked}} after a flake){{end}},
{{.Totals.Failed}} fail, {{.Totals.Skipped}} skipped themselves. {{.Server}}, {{.Cluster}},
{{.Procs}} at a time, {{end}}{{.Time}} on {{.Day}}.

| area | behaviours | hold | flaked | fail | skipped |
|---|---:|---:|---:|---:|---:|
{{range .Rows}}| {{.Area}} | {{.Behaviours}} | {{.Hold}} | {{.Flaked}} | {{.Fail}} | {{.Skipped}} |
{{end}}
{{range .Sections}}## {{.Area}}

{{range .Failures}}- {{.Behaviour}} ({{.Components}})
  {{if not .Known}}*not looked into:* {{end}}{{.Reason}}
{{end}}
{{end}}`
