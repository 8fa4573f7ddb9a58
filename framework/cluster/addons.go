package cluster

import (
	"context"

	"github.com/plumbline/plumbline/fixtures/manifests"
)

// installAddons creates the objects of the addons.
func (c *Cluster) installAddons(ctx context.Context) error {
	if !*c.spec.Spec.Addons.DNS {
		return nil
	}
	return c.Apply(ctx, manifests.CoreDNS())
}
