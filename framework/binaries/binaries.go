// Package binaries builds the programs that the harness runs and does not
// write: containerd with its shim, runc, the CNI plugins, CoreDNS, etcdctl.
// Their versions stand in fixtures/binaries/go.mod; each set of versions and
// recipes is built once per host.
package binaries

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/debian"
)

// Set is a directory of built programs, flat, each under its usual name.
type Set struct {
	Dir string
}

// Path of one program of the set.
func (s Set) Path(name string) string { return filepath.Join(s.Dir, name) }

// A recipe builds one program.
type recipe struct {
	name    string
	pkg     string   // import path, or ./dir in the module
	module  string   // whose version the program carries
	version []string // variables that take that version, as for -ldflags -X
	tags    string
	static  bool
	seccomp bool // links libseccomp
}

const containerdModule = "github.com/containerd/containerd/v2"

func recipes() []recipe {
	const (
		cni     = "github.com/containernetworking/plugins"
		cniVer  = cni + "/pkg/utils/buildversion.BuildVersion"
		ctrdVer = containerdModule + "/version.Version"
	)
	return []recipe{
		{name: "containerd", pkg: "./containerd", module: containerdModule, version: []string{ctrdVer}},
		{name: "containerd-shim-runc-v2", pkg: containerdModule + "/cmd/containerd-shim-runc-v2", module: containerdModule,
			version: []string{ctrdVer}, static: true},
		{name: "runc", pkg: "github.com/opencontainers/runc", module: "github.com/opencontainers/runc",
			tags: "seccomp,urfave_cli_no_docs", static: true, seccomp: true},
		{name: "bridge", pkg: cni + "/plugins/main/bridge", module: cni, version: []string{cniVer}, static: true},
		{name: "ptp", pkg: cni + "/plugins/main/ptp", module: cni, version: []string{cniVer}, static: true},
		{name: "loopback", pkg: cni + "/plugins/main/loopback", module: cni, version: []string{cniVer}, static: true},
		{name: "host-local", pkg: cni + "/plugins/ipam/host-local", module: cni, version: []string{cniVer}, static: true},
		{name: "portmap", pkg: cni + "/plugins/meta/portmap", module: cni, version: []string{cniVer}, static: true},
		{name: "coredns", pkg: "./coredns", module: "github.com/coredns/coredns",
			version: []string{"github.com/coredns/coredns/coremain.GitCommit"}, static: true},
		{name: "etcdctl", pkg: "go.etcd.io/etcd/etcdctl/v3", module: "go.etcd.io/etcd/etcdctl/v3", static: true},
	}
}

const moduleDir = "fixtures/binaries"

// Entry is where the set belongs in a cache, given the repository's directory.
func Entry(source string) (cache.Entry, error) {
	key := cache.NewKey().Add("binaries/1", recipes())
	err := key.AddFiles(source, moduleDir)
	return cache.Entry{Kind: "binaries", Key: key.String()}, err
}

// Build returns the set for the repository at source, building it if the cache lacks it.
func Build(ctx context.Context, store cache.Store, source string, progress func(string)) (Set, error) {
	entry, err := Entry(source)
	if err != nil {
		return Set{}, fmt.Errorf("read the recipes of the binaries: %w", err)
	}
	dir, err := store.Ensure(ctx, entry, func(ctx context.Context, dir string) error {
		b := builder{module: filepath.Join(source, moduleDir), out: dir, store: store}
		if err := b.readVersions(); err != nil {
			return err
		}
		for _, r := range recipes() {
			progress(fmt.Sprintf("build %s %s", r.name, b.versions[r.module]))
			if err := b.build(ctx, r); err != nil {
				return fmt.Errorf("build %s: %w", r.name, err)
			}
		}
		return nil
	})
	return Set{Dir: dir}, err
}

type builder struct {
	module   string
	out      string
	store    cache.Store
	versions map[string]string
}

func (b *builder) readVersions() error {
	path := filepath.Join(b.module, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	mod, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return err
	}
	b.versions = map[string]string{}
	for _, r := range mod.Require {
		b.versions[r.Mod.Path] = r.Mod.Version
	}
	return nil
}

func (b *builder) build(ctx context.Context, r recipe) error {
	ldflags := []string{"-s", "-w"}
	for _, v := range r.version {
		ldflags = append(ldflags, "-X", v+"="+b.versions[r.module])
	}
	if r.static {
		// cgo stays on, as in every other build of the project, so that they share compiled packages.
		ldflags = append(ldflags, "-linkmode=external", "-extldflags=-static")
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-mod=readonly",
		"-tags", r.tags, "-ldflags", strings.Join(ldflags, " "), "-o", filepath.Join(b.out, r.name), r.pkg)
	cmd.Dir = b.module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	if r.seccomp {
		env, err := b.seccomp(ctx)
		if err != nil {
			return err
		}
		cmd.Env = append(cmd.Env, env...)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out.String())
	}
	return nil
}

// seccomp unpacks libseccomp's headers and static library from Debian's package
// into the cache, and stands in for pkg-config with a script that names them:
// nothing is installed.
func (b *builder) seccomp(ctx context.Context) (env []string, err error) {
	const pkg = "libseccomp-dev"
	dir, err := b.store.Ensure(ctx, cache.Entry{Kind: "debian", Key: pkg}, func(ctx context.Context, dir string) error {
		archives, err := debian.New(b.store).Download(ctx, debian.Query{Packages: []string{pkg}, NoDependencies: true})
		if err != nil {
			return err
		}
		for _, archive := range archives {
			if err := debian.Unpack(ctx, archive, dir); err != nil {
				return err
			}
		}
		libs, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/libseccomp.a"))
		if err != nil {
			return err
		}
		if len(libs) == 0 {
			return fmt.Errorf("no libseccomp.a in %s", pkg)
		}
		rel, err := filepath.Rel(dir, libs[0])
		if err != nil {
			return err
		}
		script := fmt.Sprintf(`#!/bin/sh
root=$(dirname "$(realpath "$0")")
for arg; do
	case $arg in
	--cflags) echo "-I$root/usr/include" ;;
	--libs) echo "-L$root/%s -l:libseccomp.a" ;;
	esac
done
`, filepath.Dir(rel))
		return os.WriteFile(filepath.Join(dir, "pkg-config"), []byte(script), 0o755)
	})
	return []string{"PKG_CONFIG=" + filepath.Join(dir, "pkg-config")}, err
}
