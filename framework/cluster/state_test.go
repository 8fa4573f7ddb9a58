package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

func newState(t *testing.T) *state {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("control groups need root")
	}
	t.Setenv(StateVariable, filepath.Join(t.TempDir(), "plumb"))
	s, err := claim("demo")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAClusterIsClaimedOnce(t *testing.T) {
	s := newState(t)
	if _, err := claim("demo"); !errors.Is(err, ErrExists) {
		t.Errorf("claimed twice: %v", err)
	}
	if swept, err := Sweep(); err != nil || len(swept) != 0 {
		t.Errorf("the living cluster was swept: %v %v", swept, err)
	}
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(StateRoot()); !os.IsNotExist(err) {
		t.Errorf("the state root is left: %v", err)
	}
	again, err := claim("demo")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.release(); err != nil {
		t.Fatal(err)
	}
}

func TestLeftoversOfTheDeadAreSwept(t *testing.T) {
	s := newState(t)
	group, err := cgroup.Create(s.cgroup()+"/node-1/kubepods/pod1", cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "kubeconfig"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The kernel releases a dead owner's lock; nothing else tells of its death.
	if err := s.lock.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := Stale(); err != nil || !slices.Equal(names, []string{"demo"}) {
		t.Errorf("stale: %v %v", names, err)
	}
	if names, err := Sweep(); err != nil || !slices.Equal(names, []string{"demo"}) {
		t.Errorf("swept: %v %v", names, err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
	for _, h := range group.Hierarchies() {
		if _, err := os.Stat(filepath.Join(h.Mount, s.cgroup())); !os.IsNotExist(err) {
			t.Errorf("the control group is left in %s", h.Mount)
		}
	}
}

func TestClaimsAndSweepsAreOutOfEachOthersWay(t *testing.T) {
	if err := newState(t).release(); err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for i := range 4 {
		name := fmt.Sprintf("cluster-%d", i)
		group.Go(func() error {
			for range 50 {
				if swept, err := Sweep(); err != nil || len(swept) > 0 {
					return fmt.Errorf("swept %v, which are alive: %w", swept, err)
				}
				if _, err := Stale(); err != nil {
					return err
				}
				s, err := claim(name)
				if err != nil {
					return err
				}
				if err := s.release(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(StateRoot()); !os.IsNotExist(err) {
		t.Errorf("the state root is left: %v", err)
	}
}
