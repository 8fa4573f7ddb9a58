package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

// Swap ends a component and runs another program in its place, with the same command
// line and files, on what the first one left: data, sockets, rules. An empty change
// brings the usual one back. It returns when the component serves.
func (c *Cluster) Swap(ctx context.Context, machine, component string, change v1alpha1.Component) error {
	if err := v1alpha1.ValidateComponent(component, change); err != nil {
		return err
	}
	c.mu.Lock()
	h := c.hosts[machine]
	if h == nil {
		c.mu.Unlock()
		return fmt.Errorf("cluster %q has no machine %q; it has %v", c.Name(), machine, c.Machines())
	}
	p, running := h.parts[component], h.components[component]
	present := slices.Sorted(maps.Keys(h.components))
	c.mu.Unlock()
	if running == nil {
		return fmt.Errorf("machine %s has no component %q; it has %v", machine, component, present)
	}
	next, err := h.component(p, change)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout())
	defer cancel()
	if err := running.Replace(ctx, next); err != nil {
		return err
	}
	return running.WaitReady(ctx)
}
