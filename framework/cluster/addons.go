package cluster

import (
	"context"
	"os"
	"path/filepath"

	"github.com/plumbline/plumbline/framework/cache"
)

// dnsManifest is in the repository, below fixtures.
const dnsManifest = "fixtures/manifests/coredns.yaml"

// installAddons creates the objects of the addons.
func (c *Cluster) installAddons(ctx context.Context) error {
	if !*c.spec.Spec.Addons.DNS {
		return nil
	}
	source, err := cache.Source()
	if err != nil {
		return err
	}
	manifest, err := os.ReadFile(filepath.Join(source, dnsManifest))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.Apply(ctx, manifest)
}
