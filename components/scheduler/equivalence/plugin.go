// Package equivalence lets pods of one class share what plugins found out about nodes. A class is pods that no plugin
// can tell apart, such as those of one Deployment. What a plugin said of a class and a node stands until the node
// changes, and what depends on all nodes, such as how many pods a zone runs, is kept up change by change; so a pod costs
// no more than the nodes that changed since the last one of its class, and a glance at those that are candidates. Where
// pods are nominated, plugins are asked twice, as always: of the node with them, and of the node as it is.
package equivalence

import (
	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Local is a plugin to which, of a cluster, nothing but the node in question matters; of a pod, nothing but its class.
type Local interface {
	fwk.Plugin
	// Covers says whether the class holds all that the plugin reads of the pod.
	Covers(pod *v1.Pod) bool
	// Scale is how scores are normalised.
	Scale() Scale
}

// Scale is a way to normalise scores.
type Scale int

// The scales of plugins.
const (
	// AsIs leaves scores as they are.
	AsIs Scale = iota
	// ToHighest makes the highest score 100, and the others as much less.
	ToHighest
	// FromHighest makes the highest score 0 and 0 to 100.
	FromHighest
)

// Tracking is a plugin to which other nodes matter as well, and which keeps up with them.
type Tracking interface {
	fwk.Plugin
	// Track looks at the nodes for pods like this one.
	Track(pod *v1.Pod, nodes []fwk.NodeInfo) (Tracker, error)
}

// Tracker knows the nodes, by their place in the list, as a plugin sees them for a class.
type Tracker interface {
	// Current says whether all that the tracker was made from still holds, nodes aside.
	Current() bool
	// Update takes in a changed node.
	Update(at int, node fwk.NodeInfo)
	// Filter says why a pod does not go to the node, nil where it does.
	Filter(at int) *fwk.Status
	// FilterWith is Filter as if further pods ran on the node. They do not: nothing of it is kept.
	FilterWith(at int, further []fwk.PodInfo) *fwk.Status
	// Score gives each candidate its normalised score; false means that all are 0.
	Score(candidates []int32, scores []int64) bool
}

// View is the nodes as a scheduling cycle sees them.
type View interface {
	// Layout changes with the list of nodes.
	Layout() int64
	// All lists the nodes.
	All() []fwk.NodeInfo
	// Changes returns the places of nodes that changed since a count of changes, and the count now. With all, any node
	// may have.
	Changes(since int64) (places []int32, now int64, all bool)
	// Nominated lists the pods nominated to the node at a place.
	Nominated(at int) []fwk.PodInfo
}
