package images

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/cache"
)

// Layer is a file tree and how it comes about. Layers of one name are the same.
type Layer struct {
	name  string
	based func(source string, key *cache.Key) error // adds what the content depends on
	fill  func(ctx context.Context, b Builder, root string) error
}

// key identifies the layer's content.
func (l Layer) key(source string) (string, error) {
	key := cache.NewKey().Add("layer/3", runtime.GOARCH, l.name)
	err := l.based(source, key)
	return key.String(), err
}

// onFiles is a layer's dependence on files of the repository.
func onFiles(paths ...string) func(string, *cache.Key) error {
	return func(source string, key *cache.Key) error { return key.AddFiles(source, paths...) }
}

// onValues is a layer's dependence on values of its recipe.
func onValues(values ...any) func(string, *cache.Key) error {
	return func(_ string, key *cache.Key) error {
		key.Add(values...)
		return nil
	}
}

// onGroup is a layer's dependence on a module and its programs.
func onGroup(group binaries.Group, values ...any) func(string, *cache.Key) error {
	return func(source string, key *cache.Key) error {
		entry, err := group.Entry(source)
		key.Add(entry.Key).Add(values...)
		return err
	}
}

// GoProgram is a layer with one static program, /name, from a folder of this repository.
func GoProgram(name, dir string) Layer {
	return Layer{name: name, based: onFiles(dir), fill: func(ctx context.Context, b Builder, root string) error {
		return run(ctx, b.Source, "go", "build", "-buildvcs=false", "-trimpath",
			"-ldflags", "-s -w -linkmode=external -extldflags=-static", "-o", filepath.Join(root, name), "./"+dir)
	}}
}

// CProgram is a layer with one static program, /name, from one C file of this repository.
func CProgram(name, file string) Layer {
	return Layer{name: name, based: onFiles(file), fill: func(ctx context.Context, b Builder, root string) error {
		return run(ctx, b.Source, "gcc", "-Os", "-Wall", "-Werror", "-static", "-s", "-o", filepath.Join(root, name), file)
	}}
}

// Program is a layer with a program of a group, under a path of its own.
func Program(group binaries.Group, program, path string, mode fs.FileMode) Layer {
	return Layer{name: program, based: onGroup(group, program, path, mode), fill: func(ctx context.Context, b Builder, root string) error {
		set, err := group.Build(ctx, b.Store, b.Source, b.Progress)
		if err != nil {
			return err
		}
		return copyFile(set.Path(program), filepath.Join(root, path), mode)
	}}
}

// HostProgram is a layer with a program of this host, under a path of its own.
func HostProgram(name, from, path string) Layer {
	based := func(_ string, key *cache.Key) error {
		key.Add(path)
		return key.AddFiles(filepath.Dir(from), filepath.Base(from))
	}
	return Layer{name: name, based: based, fill: func(_ context.Context, _ Builder, root string) error {
		return copyFile(from, filepath.Join(root, path), 0o755)
	}}
}

// Published is a layer with files of a module that a group's module requires:
// by their path in the image, where they are in that module.
func Published(name string, group binaries.Group, module string, files map[string]string) Layer {
	return Layer{name: name, based: onGroup(group, module, files), fill: func(ctx context.Context, b Builder, root string) error {
		dir, err := group.Dependency(ctx, b.Source, module)
		if err != nil {
			return err
		}
		for path, from := range files {
			if err := copyFile(filepath.Join(dir, from), filepath.Join(root, path), 0o644); err != nil {
				return err
			}
		}
		return nil
	}}
}

// Text is a layer of small files, by absolute path. A value "-> TARGET" is a symbolic link.
func Text(name string, files map[string]string) Layer {
	return Layer{name: name, based: onValues(files), fill: func(_ context.Context, _ Builder, root string) error {
		return writeFiles(root, files)
	}}
}

// MountPoints is a layer of what a pod's containers have mounted over. Where an image lacks
// it, it is made in each container's own file system, when that starts.
func MountPoints() Layer {
	directories := []string{"proc", "sys", "dev", "etc", "var/run/secrets/kubernetes.io/serviceaccount"}
	files := map[string]string{"/etc/hosts": "", "/etc/hostname": "", "/etc/resolv.conf": ""}
	return Layer{name: "mount-points", based: onValues(directories, files), fill: func(_ context.Context, _ Builder, root string) error {
		for _, dir := range directories {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				return err
			}
		}
		return writeFiles(root, files)
	}}
}

func writeFiles(root string, files map[string]string) error {
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return err
			}
			if err := os.Symlink(target, path); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode.Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Chmod(to, mode)
}
