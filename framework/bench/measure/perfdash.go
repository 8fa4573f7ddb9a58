package measure

import (
	"maps"
	"strconv"
)

// DataItems is the format in which Kubernetes' performance dashboard, perfdash, reads
// the results of benchmarks.
type DataItems struct {
	Version string     `json:"version"`
	Items   []DataItem `json:"dataItems"`
}

// DataItem is one metric of one run.
type DataItem struct {
	Data   map[string]float64 `json:"data"`
	Unit   string             `json:"unit"`
	Labels map[string]string  `json:"labels,omitempty"`
}

// notApplicable is what a label says where it says nothing. The dashboard selects by
// label, so an item without a label that others have would never be seen.
const notApplicable = "not applicable"

// Perfdash puts runs into the format of perfdash. A run that was not completed is
// left out: the dashboard has no word for it.
func Perfdash(runs []Run) DataItems {
	all := DataItems{Version: "v1", Items: []DataItem{}}
	names := map[string]bool{}
	for _, run := range runs {
		if !run.Completed() {
			continue
		}
		for _, metric := range run.Metrics {
			labels := map[string]string{
				"Name": run.Workload, "Metric": metric.Name,
				"Contender": run.Contender, "Profile": run.Profile, "Run": strconv.Itoa(run.Number),
			}
			maps.Copy(labels, metric.Labels)
			for name := range labels {
				names[name] = true
			}
			all.Items = append(all.Items, DataItem{Data: maps.Clone(metric.Values), Unit: metric.Unit, Labels: labels})
		}
	}
	for _, item := range all.Items {
		for name := range names {
			if _, said := item.Labels[name]; !said {
				item.Labels[name] = notApplicable
			}
		}
	}
	return all
}
