// Package binaries builds Go programs that the harness runs and does not write.
// Their versions stand in the go.mod of modules inside the repository; each set
// of versions and recipes is built once per host. What every cluster runs is
// Runtime: containerd with its shim, runc, the CNI plugins, CoreDNS, etcdctl.
package binaries

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/plumbline/plumbline/framework/cache"
)

// Set is a directory of built programs, flat, each under its usual name.
type Set struct {
	Dir string
}

// Path of one program of the set.
func (s Set) Path(name string) string { return filepath.Join(s.Dir, name) }

// Group is a number of programs that are built together, from one module.
type Group struct {
	// Name is the folder of the cache that the set is kept in.
	Name string
	// Module is the module's directory in the repository.
	Module   string
	Programs []Program
}

// Program is the recipe of one program.
type Program struct {
	Name    string
	Package string // import path, or ./dir in the module
	// Tests builds the package's compiled tests instead of its command.
	Tests bool
	// Module is whose version the program carries.
	Module string
	// Variables are set by the linker. In their values {version} is the module's
	// version, such as v1.2.3, and {major} and {minor} are its first two numbers.
	Variables map[string]string
	Tags      string
	Static    bool
	Seccomp   bool // links libseccomp
}

// Entry is where the set belongs in a cache, given the repository's directory.
func (g Group) Entry(source string) (cache.Entry, error) {
	files, err := g.files(source)
	key := cache.NewKey().Add("binaries/2", g.Programs)
	if err == nil {
		err = key.AddFiles(source, files...)
	}
	if err != nil {
		err = fmt.Errorf("read the recipes of the %s: %w", g.Name, err)
	}
	return cache.Entry{Kind: g.Name, Key: key.String()}, err
}

// files are what decides how the programs turn out. To programs of other modules
// those in the module's own folder, its versions, are all that matters.
func (g Group) files(source string) ([]string, error) {
	versions, err := os.ReadFile(filepath.Join(source, g.Module, "go.mod"))
	if err != nil {
		return nil, err
	}
	ownSource := func(p Program) bool { return strings.HasPrefix(p.Package, "./") }
	if slices.ContainsFunc(g.Programs, ownSource) || bytes.Contains(versions, []byte("=> ./")) {
		return []string{g.Module}, nil
	}
	entries, err := os.ReadDir(filepath.Join(source, g.Module))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			files = append(files, filepath.Join(g.Module, entry.Name()))
		}
	}
	return files, nil
}

// Build returns the set for the repository at source, building it if the cache lacks it.
func (g Group) Build(ctx context.Context, store cache.Store, source string, progress func(string)) (Set, error) {
	entry, err := g.Entry(source)
	if err != nil {
		return Set{}, err
	}
	dir, err := store.Ensure(ctx, entry, func(ctx context.Context, dir string) error {
		m, err := readModule(filepath.Join(source, g.Module))
		if err != nil {
			return err
		}
		b := builder{module: m, out: dir, store: store}
		for _, p := range g.Programs {
			progress(strings.TrimSpace(fmt.Sprintf("build %s %s", p.Name, m.versions[p.Module])))
			if err := b.build(ctx, p); err != nil {
				return fmt.Errorf("build %s: %w", p.Name, err)
			}
		}
		return nil
	})
	return Set{Dir: dir}, err
}

type builder struct {
	module *module
	out    string
	store  cache.Store
}

func (b *builder) build(ctx context.Context, p Program) error {
	verb := []string{"build"}
	if p.Tests {
		// Vetting somebody else's suite takes as long as compiling it.
		verb = []string{"test", "-c", "-vet=off"}
	}
	args := append(verb, "-buildvcs=false", "-trimpath", "-mod=readonly",
		"-tags", p.Tags, "-ldflags", strings.Join(b.linkFlags(p), " "), "-o", filepath.Join(b.out, p.Name), p.Package)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.module.dir
	cmd.Env = environment()
	if p.Seccomp {
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

// environment is that of the go command. cgo stays on, as in every other build
// of the project, so that they share compiled packages.
func environment() []string {
	return append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
}

func (b *builder) linkFlags(p Program) []string {
	flags := []string{"-s", "-w"}
	version := b.module.versions[p.Module]
	major, rest, _ := strings.Cut(strings.TrimPrefix(semver.Canonical(version), "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	fill := strings.NewReplacer("{version}", version, "{major}", major, "{minor}", minor)
	for _, name := range slices.Sorted(maps.Keys(p.Variables)) {
		flags = append(flags, "-X", name+"="+fill.Replace(p.Variables[name]))
	}
	if p.Static {
		flags = append(flags, "-linkmode=external", "-extldflags=-static")
	}
	return flags
}
