// Package v1alpha1 describes hollow nodes and what happens on them, as one value that Go
// and YAML write alike: API group plumbline.dev, kind HollowNodes. A cluster's
// description has the same below spec.hollow.
//
//	apiVersion: plumbline.dev/v1alpha1
//	kind: HollowNodes
//	spec:
//	  nodes:
//	  - count: 5000
//	    capacity: {cpu: "4", memory: 32Gi, pods: "110"}
//	    labels: {topology.kubernetes.io/zone: [zone-1, zone-2, zone-3]}
//	  pods:
//	  - match: {namespaces: [batch], labels: {matchLabels: {kind: flaky}}}
//	    startAfter: 1s..3s
//	    finishAfter: 20s
//	    exitCodes: [1, 0]
//	  outages:
//	  - {nodes: [hollow-7], after: 1m, for: 10m}
package v1alpha1

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// APIVersion is the group and version of this package.
	APIVersion = "plumbline.dev/v1alpha1"
	// Kind is the only kind in it.
	Kind = "HollowNodes"
	// Label is on every hollow node, whatever its value. A node that somebody else made
	// with this label is a hollow node, too.
	Label = "plumbline.dev/hollow"
)

// HollowNodes is a description in a file of its own.
type HollowNodes struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       Spec   `json:"spec,omitzero"`
}

// Spec says which hollow nodes there are and what happens on them.
type Spec struct {
	// Nodes are groups of nodes that are alike.
	Nodes []Group `json:"nodes,omitempty"`
	// Pods is the script that pods follow: each the first rule that it matches. A pod that
	// matches none starts at once, runs for ever, and ends at once when it is deleted.
	Pods []Rule `json:"pods,omitempty"`
	// Outages are the times during which nodes are silent.
	Outages []Outage `json:"outages,omitempty"`
	// CIDR is where the nodes' addresses and those of their pods come from. Nothing answers
	// there and nothing routes there: it lies outside of the cluster's other ranges.
	// Default 100.64.0.0/10.
	CIDR string `json:"cidr,omitempty"`
	// Heartbeat is how the nodes tell that they live.
	Heartbeat Heartbeat `json:"heartbeat,omitzero"`
	// Seed varies what is drawn from spans of time. The same names under the same seed draw
	// the same.
	Seed uint64 `json:"seed,omitempty"`
}

// Group is a number of nodes that are alike.
type Group struct {
	// Name begins the nodes' names: with the usual "hollow" they are hollow-1, hollow-2, ...
	Name string `json:"name,omitempty"`
	// Count is how many there are.
	Count int `json:"count"`
	// Capacity is what each node has, and has left for pods. What is left out of cpu, memory
	// and pods is 4, 32Gi and 110.
	Capacity corev1.ResourceList `json:"capacity,omitempty"`
	// Labels are given beside the usual ones, of which type is "hollow". Of several values
	// the nodes take one each in turn.
	Labels map[string]Values `json:"labels,omitempty"`
	// Taints are those that the nodes register with.
	Taints []corev1.Taint `json:"taints,omitempty"`
}

// Rule is what becomes of the pods that it matches. Times are spans: "2s", or "1s..5s" for
// one that is drawn for each pod.
type Rule struct {
	// Match selects pods.
	Match Match `json:"match,omitzero"`
	// Refuse has the node turn the pod down: its phase is Failed.
	Refuse *Reason `json:"refuse,omitempty"`
	// Stuck keeps the pod from starting: its containers wait for this reason.
	Stuck *Reason `json:"stuck,omitempty"`
	// StartAfter is the time from the binding until the containers run.
	StartAfter Span `json:"startAfter,omitzero"`
	// ReadyAfter is the time from then until they are ready.
	ReadyAfter Span `json:"readyAfter,omitzero"`
	// FinishAfter is the time that the containers run, each time; without it, for ever.
	FinishAfter *Span `json:"finishAfter,omitempty"`
	// ExitCodes are those of the first run, the second, and so on; the last one is that of
	// all further runs. Default 0. Whether there is another run is for the pod's restartPolicy.
	ExitCodes []int32 `json:"exitCodes,omitempty"`
	// RestartAfter is the time from one run to the next. Default: as a kubelet does, 10 s at
	// first, twice as long each time, at most 5 minutes.
	RestartAfter *Span `json:"restartAfter,omitempty"`
	// TerminateAfter is the time from the deletion until the pod has ended; at most the
	// pod's grace period.
	TerminateAfter Span `json:"terminateAfter,omitzero"`
}

// Match selects pods that fulfil everything that is said.
type Match struct {
	// Namespaces and Nodes are patterns as of a shell, "batch-*", of which one must fit.
	Namespaces []string `json:"namespaces,omitempty"`
	Nodes      []string `json:"nodes,omitempty"`
	// Labels selects by the pod's labels.
	Labels *metav1.LabelSelector `json:"labels,omitempty"`
}

// Reason is why something does not go as it should, as the API says it.
type Reason struct {
	// Reason is one word: "ImagePullBackOff".
	Reason string `json:"reason"`
	// Message is for people.
	Message string `json:"message,omitempty"`
}

// Outage is a time during which nodes are silent, as if their machines were dead: they
// renew no Lease and do nothing for their pods.
type Outage struct {
	// Nodes are patterns of names, "hollow-1?", of which one must fit.
	Nodes []string `json:"nodes"`
	// After is the time from the node's registration until it falls silent.
	After Span `json:"after,omitzero"`
	// For is how long it is silent; without it, for ever.
	For *Span `json:"for,omitempty"`
}

// Heartbeat is how nodes tell that they live. Its defaults grow with the number of nodes,
// so that together they make no more than 50 renewals and 10 reports a second.
type Heartbeat struct {
	// RenewInterval is the time between renewals of a node's Lease. Default 10s, and more
	// above 500 nodes: 100s for 5000.
	RenewInterval *metav1.Duration `json:"renewInterval,omitempty"`
	// LeaseDuration is what the Lease says. Default four times RenewInterval.
	LeaseDuration *metav1.Duration `json:"leaseDuration,omitempty"`
	// ReportInterval is the time between reports of a node's status when nothing changes.
	// Default 5m, and more above 3000 nodes.
	ReportInterval *metav1.Duration `json:"reportInterval,omitempty"`
}

// New describes a number of nodes with everything else as usual.
func New(count int) *Spec { return &Spec{Nodes: []Group{{Count: count}}} }

// Total is the number of nodes.
func (s *Spec) Total() int {
	total := 0
	for _, group := range s.Nodes {
		total += group.Count
	}
	return total
}

// Has tells whether a node of that name is one of these.
func (s *Spec) Has(name string) bool {
	for _, group := range s.Nodes {
		number, found := strings.CutPrefix(name, group.Name+"-")
		if n, err := strconv.Atoi(number); found && err == nil && n >= 1 && n <= group.Count && strconv.Itoa(n) == number {
			return true
		}
	}
	return false
}

// GracePeriod is how long the node lifecycle controller must bear a node's silence: as many
// renewals as it does by its own defaults, but no less than those.
func (s *Spec) GracePeriod() time.Duration {
	const usual, renewals = 50 * time.Second, 5
	if s.Heartbeat.RenewInterval == nil {
		return usual
	}
	return max(usual, renewals*s.Heartbeat.RenewInterval.Duration)
}
