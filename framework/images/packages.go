package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/debian"
)

// Packages is a layer with Debian packages, all that they depend on, and what of
// the system their scripts would have made.
func Packages(name string, packages ...string) Layer {
	return Layer{name: name, based: onValues("packages/1", packages), fill: func(ctx context.Context, b Builder, root string) error {
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
		if err := trustAuthorities(root); err != nil {
			return err
		}
		return os.RemoveAll(trees)
	}}
}

// trustAuthorities puts the certificates of package ca-certificates, where it is
// there, into the one file that programs read.
func trustAuthorities(root string) error {
	certificates, err := filepath.Glob(filepath.Join(root, "usr/share/ca-certificates/*/*.crt"))
	if err != nil || len(certificates) == 0 {
		return err
	}
	var all []byte
	for _, certificate := range certificates {
		data, err := os.ReadFile(certificate)
		if err != nil {
			return err
		}
		all = append(all, data...)
	}
	return writeFiles(root, map[string]string{"/etc/ssl/certs/ca-certificates.crt": string(all)})
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
	files := Accounts()
	for link, target := range map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64", "/var/run": "/run"} {
		files[link] = "-> " + target
	}
	files["/etc/nsswitch.conf"] = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
	return writeFiles(root, files)
}

// Accounts are the files of users and groups in images made of packages, by absolute path.
func Accounts() map[string]string {
	return map[string]string{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group": "root:x:0:\nadm:x:4:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n",
	}
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
