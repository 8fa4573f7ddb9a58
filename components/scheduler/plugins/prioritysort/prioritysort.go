// Package prioritysort is the PrioritySort plugin: more important pods first, then those that wait longer.
package prioritysort

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
)

// Name of the plugin.
const Name = "PrioritySort"

// PrioritySort orders the queue.
type PrioritySort struct{}

var _ fwk.QueueSortPlugin = PrioritySort{}

// New makes the plugin.
func New(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return PrioritySort{}, nil }

// Name returns the plugin's name.
func (PrioritySort) Name() string { return Name }

// Less says whether a goes before b.
func (PrioritySort) Less(a, b fwk.QueuedEntityInfo) bool {
	if a.GetPriority() != b.GetPriority() {
		return a.GetPriority() > b.GetPriority()
	}
	return a.GetTimestamp().Before(b.GetTimestamp())
}
