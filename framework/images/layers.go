package images

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/debian"
)

// A layer is a file tree and how it comes about.
type layer struct {
	name  string
	based []string // what it is made from: paths in the repository, package names, texts
	fill  func(ctx context.Context, b Builder, root string) error
}

// key identifies the layer's content.
func (l layer) key(source string) (string, error) {
	key := cache.NewKey().Add("layer/2", runtime.GOARCH, l.name)
	for _, from := range l.based {
		if !strings.HasPrefix(from, "fixtures/") {
			key.Add(from)
			continue
		}
		if err := key.AddFiles(source, from); err != nil {
			return "", err
		}
	}
	return key.String(), nil
}

// goProgram is a layer with one static program, /name, from a folder of this repository.
func goProgram(name, dir string) layer {
	return layer{name: name, based: []string{dir}, fill: func(ctx context.Context, b Builder, root string) error {
		return run(ctx, b.Source, "go", "build", "-buildvcs=false", "-trimpath",
			"-ldflags", "-s -w -linkmode=external -extldflags=-static", "-o", filepath.Join(root, name), "./"+dir)
	}}
}

// cProgram is a layer with one static program, /name, from one C file.
func cProgram(name, file string) layer {
	return layer{name: name, based: []string{file}, fill: func(ctx context.Context, b Builder, root string) error {
		return run(ctx, b.Source, "gcc", "-Os", "-Wall", "-Werror", "-static", "-s", "-o", filepath.Join(root, name), file)
	}}
}

// builtProgram is a layer with a program of the built binaries. Its content is
// known by the directory, which is named after the hash of its recipe.
func builtProgram(name, path string) layer {
	return layer{name: name, based: []string{path}, fill: func(_ context.Context, _ Builder, root string) error {
		return copyFile(path, filepath.Join(root, name))
	}}
}

// text is a layer of small files, by absolute path. A value "-> TARGET" is a symbolic link.
func text(name string, files map[string]string) layer {
	based := []string{fmt.Sprint(files)}
	return layer{name: name, based: based, fill: func(_ context.Context, _ Builder, root string) error {
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

// debianPackages is a layer with packages, all that they depend on, and the
// system's skeleton that their scripts would have made.
func debianPackages(name string, packages ...string) layer {
	return layer{name: name, based: packages, fill: func(ctx context.Context, b Builder, root string) error {
		archives, err := debian.New(b.Store).Download(ctx, debian.Query{Packages: packages})
		if err != nil {
			return err
		}
		trees := filepath.Join(filepath.Dir(root), "packages")
		if err := os.Mkdir(trees, 0o755); err != nil {
			return err
		}
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(runtime.NumCPU())
		for i, archive := range archives {
			group.Go(func() error {
				return debian.Unpack(gctx, archive, filepath.Join(trees, fmt.Sprint(i)))
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if err := skeleton(root); err != nil {
			return err
		}
		for i := range archives {
			if err := merge(filepath.Join(trees, fmt.Sprint(i)), root); err != nil {
				return err
			}
		}
		for _, unneeded := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"} {
			if err := os.RemoveAll(filepath.Join(root, unneeded)); err != nil {
				return err
			}
		}
		return os.RemoveAll(trees)
	}}
}

// skeleton is what every Debian system has before the first package: one /usr,
// reached by links from the root, users, and places to write to.
func skeleton(root string) error {
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "root", "tmp", "var/tmp", "run", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(root, dir), 0o1777|os.ModeSticky); err != nil {
			return err
		}
	}
	return writeFiles(root, map[string]string{
		"/bin": "-> usr/bin", "/sbin": "-> usr/sbin", "/lib": "-> usr/lib", "/lib64": "-> usr/lib64",
		"/var/run": "-> /run",
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group": "root:x:0:\nadm:x:4:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n",
	})
}

// merge moves a tree into another, following the directory links there.
func merge(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		src, dst := filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())
		there, err := os.Stat(dst)
		switch {
		case err == nil && there.IsDir() && entry.IsDir():
			if err := merge(src, dst); err != nil {
				return err
			}
		case err == nil && there.IsDir():
			// A link to a directory that exists already, e.g. /bin of base-files.
		default:
			if err := os.Rename(src, dst); err != nil {
				return err
			}
		}
	}
	return nil
}

// busybox is a layer with the static busybox and a link for each of its programs.
func busybox() layer {
	const pkg = "busybox-static"
	return layer{name: "busybox", based: []string{pkg}, fill: func(ctx context.Context, b Builder, root string) error {
		archives, err := debian.New(b.Store).Download(ctx, debian.Query{Packages: []string{pkg}, NoDependencies: true})
		if err != nil {
			return err
		}
		tree := filepath.Join(filepath.Dir(root), "package")
		for _, archive := range archives {
			if err := debian.Unpack(ctx, archive, tree); err != nil {
				return err
			}
		}
		for _, dir := range []string{"bin", "etc", "home", "root", "tmp", "var/run", "usr"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				return err
			}
		}
		if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777|os.ModeSticky); err != nil {
			return err
		}
		program := filepath.Join(root, "bin/busybox")
		if err := os.Rename(filepath.Join(tree, "bin/busybox"), program); err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, program, "--list").Output()
		if err != nil {
			return err
		}
		files := map[string]string{
			"/usr/bin": "-> ../bin", "/sbin": "-> bin", "/usr/sbin": "-> ../bin",
			"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
			"/etc/group":  "root:x:0:\nnogroup:x:65534:\n",
		}
		for applet := range strings.FieldsSeq(string(out)) {
			if applet != "busybox" {
				files["/bin/"+applet] = "-> busybox"
			}
		}
		return writeFiles(root, files)
	}}
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

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
