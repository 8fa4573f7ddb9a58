// Package cgroup keeps the control groups of pods: one for all pods, one for each
// quality-of-service class, one for each pod; on cgroup v1 and v2.
// See https://kubernetes.io/docs/concepts/architecture/cgroups/.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Hierarchy is the machine's tree or, on v1, trees of control groups.
type Hierarchy struct {
	// Unified says that it is cgroup v2.
	Unified bool
	// mounts are the mount points by controller; on v2 only the one of "".
	mounts map[string]string
}

// Discover finds the hierarchy that is mounted at /sys/fs/cgroup.
func Discover() (*Hierarchy, error) {
	const root = "/sys/fs/cgroup"
	var stat unix.Statfs_t
	if err := unix.Statfs(root, &stat); err != nil {
		return nil, fmt.Errorf("no cgroup file system at %s: %w", root, err)
	}
	if stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return &Hierarchy{Unified: true, mounts: map[string]string{"": root}}, nil
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer table.Close()
	h := &Hierarchy{mounts: map[string]string{}}
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if found && len(fields) >= 5 && len(super) > 0 && super[0] == "cgroup2" {
			// A hybrid machine: this tree holds nothing back, but runtimes leave groups in it.
			h.mounts["unified"] = fields[4]
		}
		if !found || len(fields) < 5 || len(super) < 3 || super[0] != "cgroup" {
			continue
		}
		for _, option := range strings.Split(super[2], ",") {
			if option != "rw" && option != "ro" && !strings.Contains(option, "=") && option != "xattr" && option != "noprefix" && option != "clone_children" {
				h.mounts[option] = fields[4]
			}
			if name, ok := strings.CutPrefix(option, "name="); ok {
				h.mounts["name="+name] = fields[4]
			}
		}
	}
	if h.mounts["memory"] == "" || h.mounts["cpu"] == "" {
		return nil, errors.New("cgroup v1: the memory and cpu controllers are not mounted")
	}
	return h, lines.Err()
}

// Path is the directory of a group in the tree of a controller; "" where there is none.
func (h *Hierarchy) Path(controller, group string) string {
	if h.Unified {
		controller = ""
	}
	mount, ok := h.mounts[controller]
	if !ok {
		return ""
	}
	return filepath.Join(mount, group)
}

// Make makes a group and its parents, with the controllers that pods are held by.
func (h *Hierarchy) Make(group string) error {
	if !h.Unified {
		for _, controller := range []string{"cpu", "memory", "pids"} {
			if dir := h.Path(controller, group); dir != "" {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
		}
		return nil
	}
	root := h.mounts[""]
	dir := root
	for _, part := range strings.Split(strings.Trim(group, "/"), "/") {
		if err := h.delegate(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return h.delegate(dir)
}

// delegate lets the groups below a directory use all controllers that it has (v2).
func (h *Hierarchy) delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	given, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(have)) {
		if strings.Contains(" "+strings.TrimSpace(string(given))+" ", " "+controller+" ") {
			continue
		}
		// One that cannot be had must not keep the others away.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
	return nil
}

// Remove removes a group and all below it, in every tree. Groups with processes stay,
// and are an error.
func (h *Hierarchy) Remove(group string) error {
	var errs []error
	seen := map[string]bool{}
	for controller := range h.mounts {
		dir := h.Path(controller, group)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		errs = append(errs, removeTree(dir))
	}
	return errors.Join(errs...)
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// Children are the names of the groups just below a group.
func (h *Hierarchy) Children(group string) []string {
	entries, err := os.ReadDir(h.Path("memory", group))
	if err != nil {
		return nil
	}
	var out []string
	for _, entry := range entries {
		if entry.IsDir() {
			out = append(out, entry.Name())
		}
	}
	return out
}

// Processes are the ids of all processes in a group and below it.
func (h *Hierarchy) Processes(group string) []int {
	var out []int
	_ = filepath.WalkDir(h.Path("pids", group), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() != "cgroup.procs" {
			return nil //nolint:nilerr // a group that ended meanwhile has no processes
		}
		raw, _ := os.ReadFile(path) // As above.
		for _, word := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(word); err == nil {
				out = append(out, pid)
			}
		}
		return nil
	})
	return out
}
