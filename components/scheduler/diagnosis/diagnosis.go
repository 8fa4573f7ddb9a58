// Package diagnosis collects why a pod fits nowhere and words the answer as users of kube-scheduler know it.
package diagnosis

import (
	"fmt"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
)

// ExtenderName stands for all extenders where a rejecting plugin is named.
const ExtenderName = "Extender"

// NodeStatuses says for each node why it was rejected, and for all nodes never looked at, one common reason.
type NodeStatuses struct {
	byNode map[string]*fwk.Status
	absent *fwk.Status
}

var _ fwk.NodeToStatusReader = &NodeStatuses{}

// NewNodeStatuses returns an empty set in which a node not mentioned counts as impossible.
func NewNodeStatuses() *NodeStatuses {
	return &NodeStatuses{absent: fwk.NewStatus(fwk.UnschedulableAndUnresolvable)}
}

// Get returns the status of a node.
func (s *NodeStatuses) Get(node string) *fwk.Status {
	if status, found := s.byNode[node]; found {
		return status
	}
	return s.absent
}

// Set records the status of a node.
func (s *NodeStatuses) Set(node string, status *fwk.Status) {
	if s.byNode == nil {
		s.byNode = map[string]*fwk.Status{}
	}
	s.byNode[node] = status
}

// SetAbsent sets the status of all nodes not mentioned.
func (s *NodeStatuses) SetAbsent(status *fwk.Status) { s.absent = status }

// All returns the nodes mentioned. The caller must not change it.
func (s *NodeStatuses) All() map[string]*fwk.Status { return s.byNode }

// Len counts the nodes mentioned.
func (s *NodeStatuses) Len() int { return len(s.byNode) }

// NodesForStatusCode returns the nodes whose status has the code, in the lister's order: map order would make
// preemption's choice among equals differ from run to run for no reason.
func (s *NodeStatuses) NodesForStatusCode(lister fwk.NodeInfoLister, code fwk.Code) ([]fwk.NodeInfo, error) {
	all, err := lister.List()
	if err != nil {
		return nil, err
	}
	var nodes []fwk.NodeInfo
	for _, node := range all {
		if s.Get(node.Node().Name).Code() == code {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

// Diagnosis is what a scheduling attempt learned.
type Diagnosis struct {
	Nodes *NodeStatuses
	// Unschedulable and Pending name the plugins that rejected the pod; their events wake it up again.
	Unschedulable, Pending sets.Set[string]
	// Rejection is why no node was looked at.
	Rejection     *fwk.Status
	PostFilterMsg string
}

// New returns an empty diagnosis.
func New() Diagnosis { return Diagnosis{Nodes: NewNodeStatuses()} }

// AddPlugin notes the plugin behind a rejection.
func (d *Diagnosis) AddPlugin(status *fwk.Status) {
	if status.Plugin() == "" || !status.IsRejected() {
		return
	}
	if d.Unschedulable == nil {
		d.Unschedulable = sets.New[string]()
	}
	d.Unschedulable.Insert(status.Plugin())
	if status.Code() == fwk.Pending {
		if d.Pending == nil {
			d.Pending = sets.New[string]()
		}
		d.Pending.Insert(status.Plugin())
	}
}

// FitError says that no node is feasible.
type FitError struct {
	Pod       *v1.Pod
	NumNodes  int
	Diagnosis Diagnosis
}

// Error is the text of the pod's PodScheduled condition, e.g.
// "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: ...".
func (f *FitError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "0/%d nodes are available:", f.NumNodes)
	if rejection := f.Diagnosis.Rejection.Message(); rejection != "" {
		fmt.Fprintf(&text, " %s.", rejection)
	} else if reasons := f.histogram(); len(reasons) > 0 {
		fmt.Fprintf(&text, " %s.", strings.Join(reasons, ", "))
	}
	if f.Diagnosis.PostFilterMsg != "" {
		text.WriteString(" " + f.Diagnosis.PostFilterMsg)
	}
	return text.String()
}

func (f *FitError) histogram() []string {
	counts := map[string]int{}
	nodes := f.Diagnosis.Nodes
	for _, status := range nodes.byNode {
		for _, reason := range status.Reasons() {
			counts[reason]++
		}
	}
	if rest := f.NumNodes - nodes.Len(); rest > 0 && nodes.absent != nil {
		for _, reason := range nodes.absent.Reasons() {
			counts[reason] += rest
		}
	}
	reasons := make([]string, 0, len(counts))
	for reason, count := range counts {
		reasons = append(reasons, fmt.Sprintf("%d %s", count, reason))
	}
	sort.Strings(reasons)
	return reasons
}
