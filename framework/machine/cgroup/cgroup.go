// Package cgroup makes a control group in every hierarchy that the kernel has
// mounted: one unified hierarchy (version 2), several per controller (version 1),
// or both beside each other.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Hierarchy is one mounted tree of control groups.
type Hierarchy struct {
	// Mount is where the tree is mounted.
	Mount string `json:"mount"`
	// Unified is true for version 2.
	Unified bool `json:"unified,omitempty"`
	// Options are the mount options that name the controllers of a version 1 tree,
	// "cpu" or "name=systemd".
	Options string `json:"options,omitempty"`
}

// has reports whether a version 1 tree holds a controller.
func (h Hierarchy) has(controller string) bool {
	return !h.Unified && slices.Contains(strings.Split(h.Options, ","), controller)
}

// Limits bound what a group may use. Zero means no limit.
type Limits struct {
	// MilliCPU is the share of processor time, in thousandths of one processor.
	MilliCPU int64
	// Memory is in bytes.
	Memory int64
	// PIDs is the number of processes and threads.
	PIDs int64
}

const cpuPeriodMicroseconds = 100_000

// Mounted finds the hierarchies of this machine.
func Mounted() ([]Hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []Hierarchy
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// "36 35 98:0 /root /mount options - fstype source superoptions", see proc_pid_mountinfo(5).
		before, after, ok := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(kind) < 3 {
			continue
		}
		h := Hierarchy{Mount: place[4]}
		switch kind[0] {
		case "cgroup2":
			h.Unified = true
		case "cgroup":
			h.Options = controllersOf(kind[2])
		default:
			continue
		}
		same := func(o Hierarchy) bool { return o.Unified == h.Unified && o.Options == h.Options }
		if !slices.ContainsFunc(found, same) {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no control group hierarchy is mounted: mount one at /sys/fs/cgroup")
	}
	return found, nil
}

// controllersOf drops the options of a version 1 mount that name no controller.
func controllersOf(options string) string {
	var names []string
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "rw", "ro", "xattr", "noprefix", "clone_children":
		default:
			if !strings.HasPrefix(option, "release_agent=") {
				names = append(names, option)
			}
		}
	}
	return strings.Join(names, ",")
}

// Group is one control group, in every hierarchy under the same path.
type Group struct {
	path        string
	hierarchies []Hierarchy
}

// Create makes the group and its parents and sets its limits.
func Create(path string, limits Limits) (*Group, error) {
	hierarchies, err := Mounted()
	if err != nil {
		return nil, err
	}
	g := &Group{path: path, hierarchies: hierarchies}
	for _, h := range hierarchies {
		if err := g.makeIn(h); err != nil {
			return nil, errors.Join(fmt.Errorf("control group %s: %w", path, err), g.Remove())
		}
	}
	if err := g.limit(limits); err != nil {
		return nil, errors.Join(fmt.Errorf("control group %s: %w", path, err), g.Remove())
	}
	return g, nil
}

// Hierarchies are the trees that the group is in.
func (g *Group) Hierarchies() []Hierarchy { return g.hierarchies }

// makeIn makes the group in a tree. Whoever removes another group removes parents that are
// left empty, perhaps just before this one would have been in them: then it starts anew.
func (g *Group) makeIn(h Hierarchy) error {
	const tries = 20
	var err error
	for range tries {
		if err = g.descend(h); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	return err
}

// descend makes the group's parents and the group.
func (g *Group) descend(h Hierarchy) error {
	dir := h.Mount
	for name := range strings.SplitSeq(strings.Trim(g.path, "/"), "/") {
		if h.Unified {
			if err := Delegate(dir); err != nil {
				return err
			}
		}
		parent := dir
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if h.has("cpuset") {
			// A process cannot enter a version 1 cpuset group before these are filled in.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				value, err := os.ReadFile(filepath.Join(parent, file))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Delegate hands all controllers of a version 2 directory to its children.
func Delegate(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(controllers)) {
		// One by one: some kernels refuse one of them (rt tasks block cpu), which must not cost the rest.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644)
	}
	return nil
}

type setting struct{ controller, file, value string }

func (g *Group) limit(l Limits) error {
	var v1, v2 []setting
	if l.MilliCPU > 0 {
		quota := strconv.FormatInt(l.MilliCPU*cpuPeriodMicroseconds/1000, 10)
		v1 = append(v1, setting{"cpu", "cpu.cfs_period_us", strconv.Itoa(cpuPeriodMicroseconds)}, setting{"cpu", "cpu.cfs_quota_us", quota})
		v2 = append(v2, setting{"cpu", "cpu.max", quota + " " + strconv.Itoa(cpuPeriodMicroseconds)})
	}
	if l.Memory > 0 {
		v1 = append(v1, setting{"memory", "memory.limit_in_bytes", strconv.FormatInt(l.Memory, 10)})
		v2 = append(v2, setting{"memory", "memory.max", strconv.FormatInt(l.Memory, 10)})
	}
	if l.PIDs > 0 {
		v1 = append(v1, setting{"pids", "pids.max", strconv.FormatInt(l.PIDs, 10)})
		v2 = append(v2, setting{"pids", "pids.max", strconv.FormatInt(l.PIDs, 10)})
	}
	for i := range v1 {
		if err := g.set(v1[i], v2); err != nil {
			return err
		}
	}
	return nil
}

// set writes one limit where its controller lives: in a version 1 tree if there
// is one, else in the unified tree.
func (g *Group) set(s setting, unified []setting) error {
	for _, h := range g.hierarchies {
		if h.has(s.controller) {
			return os.WriteFile(filepath.Join(h.Mount, g.path, s.file), []byte(s.value), 0o644)
		}
	}
	for _, h := range g.hierarchies {
		if !h.Unified {
			continue
		}
		for _, u := range unified {
			if u.controller != s.controller {
				continue
			}
			err := os.WriteFile(filepath.Join(h.Mount, g.path, u.file), []byte(u.value), 0o644)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("this kernel offers no %q control group controller, which a limit on it needs: boot with it enabled, or leave the limit out", s.controller)
			}
			return err
		}
	}
	return fmt.Errorf("this kernel offers no %q control group controller, which a limit on it needs: mount it, or leave the limit out", s.controller)
}

// UsualWeight is the weight that every group starts with.
const UsualWeight = 100

// SetWeight sets the group's share of processor time relative to its siblings,
// where there is not enough for all. Hierarchies without the cpu controller are
// passed over.
func (g *Group) SetWeight(weight int) error {
	const usualShares = 1024 // of version 1
	for _, h := range g.hierarchies {
		var file string
		var value int
		switch {
		case h.has("cpu"):
			file, value = "cpu.shares", usualShares*weight/UsualWeight
		case h.Unified:
			file, value = "cpu.weight", weight
		default:
			continue
		}
		err := os.WriteFile(filepath.Join(h.Mount, g.path, file), []byte(strconv.Itoa(value)), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// Add moves a process into the group.
func (g *Group) Add(pid int) error {
	for _, h := range g.hierarchies {
		if err := os.WriteFile(filepath.Join(h.Mount, g.path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("control group %s: %w", g.path, err)
		}
	}
	return nil
}

// Remove removes the group and all groups below it. The processes in it must be
// dead; those that are still being reaped are waited for.
func (g *Group) Remove() error { return remove(g.path, g.hierarchies) }

// Remove removes the group at path, made by whomever, and all below it.
func Remove(path string) error {
	hierarchies, err := Mounted()
	if err != nil {
		return err
	}
	return remove(path, hierarchies)
}

func remove(path string, hierarchies []Hierarchy) error {
	var errs []error
	for _, h := range hierarchies {
		errs = append(errs, removeTree(filepath.Join(h.Mount, path)))
	}
	return errors.Join(errs...)
}

// emptyTimeout bounds the wait for a killed process to leave its group. Version 1
// has no event for that, so removal is tried again.
const emptyTimeout = 2 * time.Second

func removeTree(dir string) error {
	deadline := time.Now().Add(emptyTimeout)
	for {
		err := removeOnce(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(5 * time.Millisecond)
	}
}

func removeOnce(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeOnce(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
