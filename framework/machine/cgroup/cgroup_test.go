package cgroup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

// Clusters that boot and end side by side have a parent in common, which the last one removes.
func TestGroupsOfOneParentComeAndGoSideBySide(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("control groups need root")
	}
	parent := fmt.Sprintf("plumb-test-%d", os.Getpid())
	var group errgroup.Group
	for i := range 3 {
		path := fmt.Sprintf("%s/group-%d", parent, i)
		group.Go(func() error {
			for range 50 {
				g, err := cgroup.Create(path, cgroup.Limits{})
				if err != nil {
					return err
				}
				if err := g.Remove(); err != nil {
					return err
				}
				for _, h := range g.Hierarchies() {
					_ = os.Remove(filepath.Join(h.Mount, parent)) // refused while another is in it
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if err := cgroup.Remove(parent); err != nil {
		t.Error(err)
	}
}
