package cluster

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

// StateVariable names the environment variable that moves the directory in which
// clusters keep their state.
const StateVariable = "PLUMB_STATE"

// StateRoot is the directory in which clusters keep their state, one directory each.
func StateRoot() string {
	if root := os.Getenv(StateVariable); root != "" {
		return root
	}
	return "/var/lib/plumb"
}

// StateDirectory is where the cluster of a name keeps its state.
func StateDirectory(name string) string { return filepath.Join(StateRoot(), name) }

// ErrExists says that a cluster of that name is running.
var ErrExists = errors.New("exists already")

// state is a cluster's directory, held by a lock that the kernel releases when the
// owner dies.
type state struct {
	name string
	dir  string
	lock *os.File
}

const lockFile = "lock"

// claim takes a cluster's directory and empties it.
func claim(name string) (*state, error) {
	root, err := lockRoot(true)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	defer root.Close()
	s := &state{name: name, dir: StateDirectory(name)}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s.lock, err = lockAt(s.dir)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("cluster %q %w: take another name, or end it with plumb down --name %s", name, ErrExists, name)
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := s.empty(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// lockRoot locks the directory of all clusters, for as long as one is claimed or removed, or
// those of the dead are looked for: who looks holds each one's lock for a moment, as an owner
// does. A directory that is not there is made, or else fs.ErrNotExist.
func lockRoot(create bool) (*os.File, error) {
	for {
		// The last owner may remove it between any two of these steps.
		if create {
			if err := os.MkdirAll(StateRoot(), 0o755); errors.Is(err, fs.ErrExist) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		root, err := os.Open(StateRoot())
		if create && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := hold(root, unix.LOCK_EX); !errors.Is(err, fs.ErrNotExist) {
			return root, err
		}
	}
}

// lockAt locks a cluster's directory, unless somebody else has.
func lockAt(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err == nil {
		err = hold(lock, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return nil, err
	}
	return lock, nil
}

// hold locks a file that is there to stay, or closes it: one that was removed between the
// opening and the locking is fs.ErrNotExist.
func hold(file *os.File, how int) error {
	err := unix.Flock(int(file.Fd()), how)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(file.Fd()), how)
	}
	if err == nil {
		var info os.FileInfo
		if info, err = file.Stat(); err == nil && info.Sys().(*syscall.Stat_t).Nlink == 0 {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		file.Close()
	}
	return err
}

// empty removes what a dead owner left: its control groups and its files.
func (s *state) empty() error {
	if err := cgroup.Remove(s.cgroup()); err != nil {
		return fmt.Errorf("remove leftover control groups: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != lockFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, entry.Name())))
		}
	}
	return err
}

// cgroup is the cluster's path in the control group hierarchies. Clusters of the
// same name under another state root have another one.
func (s *state) cgroup() string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(s.dir))
	return fmt.Sprintf("%s/%s-%08x", cgroupRoot, s.name, sum.Sum32())
}

const cgroupRoot = "plumb"

// release empties the directory, removes it and gives it up.
func (s *state) release() error {
	err := s.empty() // takes time, in which others may claim and sweep
	if root, absent := lockRoot(false); absent == nil {
		defer root.Close()
	}
	return s.leave(err)
}

// leave removes the directory, unless err says why it is not empty, and gives it up; the root
// is locked.
func (s *state) leave(err error) error {
	if err == nil {
		err = os.RemoveAll(s.dir)
	}
	// The last cluster takes the common parents with it.
	_ = os.Remove(StateRoot())
	if hierarchies, mounted := cgroup.Mounted(); mounted == nil {
		for _, h := range hierarchies {
			_ = os.Remove(filepath.Join(h.Mount, cgroupRoot))
		}
	}
	return errors.Join(err, s.lock.Close())
}

// Sweep removes what clusters left behind whose owner was killed, and returns
// their names.
func Sweep() ([]string, error) {
	return eachStale(func(s *state) error { return s.leave(s.empty()) })
}

// Stale returns the names of clusters that Sweep would remove the leftovers of.
func Stale() ([]string, error) {
	return eachStale(func(s *state) error { return s.lock.Close() })
}

// eachStale locks the directories that no living owner has and lets do give each of them up.
// It returns the clusters' names.
func eachStale(do func(*state) error) ([]string, error) {
	root, err := lockRoot(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := root.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		s := &state{name: entry.Name(), dir: StateDirectory(entry.Name())}
		var alive error
		if s.lock, alive = lockAt(s.dir); alive != nil {
			continue
		}
		names = append(names, s.name)
		err = errors.Join(err, do(s))
	}
	slices.Sort(names)
	return names, err
}
