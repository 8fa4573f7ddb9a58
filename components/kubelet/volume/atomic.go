package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of a volume that the kubelet writes.
type file struct {
	data []byte
	mode os.FileMode
	// owner is the user that must be able to read it; nil means root.
	owner *int64
}

// payload is the content of a volume by relative path.
type payload map[string]file

const (
	dataLink = "..data"
	tempLink = "..data_tmp"
)

// publish makes dir hold exactly the payload, such that a reader sees either all of
// the old content or all of the new: files live in a directory named by time,
// ..data points to it, and visible names point through ..data. prepare is called
// on the new directory before it is seen.
//
// The layout is what containers and their tools rely on: see
// https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically.
func publish(dir string, content payload, prepare func(root string) error) error {
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if current != "" && holds(filepath.Join(dir, current), content) {
		return nil
	}
	next, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_ = os.RemoveAll(next)
		}
	}()
	if err := os.Chmod(next, 0o755); err != nil {
		return err
	}
	if err := writeAll(next, content); err != nil {
		return err
	}
	if prepare != nil {
		if err := prepare(next); err != nil {
			return err
		}
	}
	temp := filepath.Join(dir, tempLink)
	_ = os.Remove(temp)
	if err := os.Symlink(filepath.Base(next), temp); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	done = true
	if err := linkTopLevel(dir, content); err != nil {
		return err
	}
	if current != "" {
		return os.RemoveAll(filepath.Join(dir, current))
	}
	return nil
}

func writeAll(root string, content payload) error {
	for path, f := range content {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, f.data, f.mode.Perm()); err != nil {
			return err
		}
		// The process's umask must not show.
		if err := os.Chmod(full, f.mode.Perm()); err != nil {
			return err
		}
		if f.owner != nil {
			if err := os.Chown(full, int(*f.owner), -1); err != nil {
				return err
			}
		}
	}
	return nil
}

// linkTopLevel makes the visible names, and removes those that are no longer wanted.
func linkTopLevel(dir string, content payload) error {
	wanted := map[string]bool{}
	for path := range content {
		top, _, _ := strings.Cut(path, string(filepath.Separator))
		wanted[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, "..") {
			continue
		}
		if wanted[name] {
			delete(wanted, name)
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for name := range wanted {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// holds says whether a directory already has just this content.
func holds(root string, content payload) bool {
	seen := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		want, ok := content[relative]
		if !ok {
			return fs.ErrNotExist
		}
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if string(have) != string(want.data) {
			return fs.ErrInvalid
		}
		seen++
		return nil
	})
	return err == nil && seen == len(content)
}

// check refuses paths that would leave the volume.
func (p payload) check() error {
	for _, path := range slices.Sorted(maps.Keys(p)) {
		clean := filepath.Clean(path)
		if path == "" || filepath.IsAbs(path) || strings.HasPrefix(clean, "..") {
			return fmt.Errorf("invalid path: must be relative and within the volume: %q", path)
		}
	}
	return nil
}
