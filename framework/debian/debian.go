// Package debian fetches packages with the host's apt and unpacks them beside
// the host's system, which it neither changes nor installs anything into.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/framework/cache"
)

// Apt runs apt-get with its state in a cache, not in the host's system.
type Apt struct {
	dir string
}

// New is an Apt that keeps what it downloads in the store.
func New(store cache.Store) *Apt { return &Apt{dir: filepath.Join(store.Dir, "apt")} }

// Query asks for packages.
type Query struct {
	Packages []string
	// NoDependencies leaves out what the packages depend on; otherwise all of
	// it comes too, as if nothing at all were installed.
	NoDependencies bool
}

// Download fetches the packages and returns the archives' paths, dependencies
// first. It uses the host's package lists where they are fresh enough, else
// fetches lists of its own.
func (a *Apt) Download(ctx context.Context, q Query) ([]string, error) {
	unlock, err := a.prepare(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	archives, hostErr := a.download(ctx, q, a.options(false))
	if hostErr == nil {
		return archives, nil
	}
	own := a.options(true)
	_, updateErr := a.run(ctx, "archives", append(own, "update")...)
	archives, err = a.download(ctx, q, own)
	if err != nil {
		return nil, fmt.Errorf("fetch Debian packages %s: with the host's lists: %w", strings.Join(q.Packages, " "),
			errors.Join(hostErr, updateErr, err))
	}
	return archives, nil
}

func (a *Apt) prepare(ctx context.Context) (unlock func(), err error) {
	for _, dir := range []string{"archives/partial", "empty/partial", "lists/partial", "source-lists/partial", "state"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, fmt.Errorf("images and libraries come from Debian's packages: %w", err)
	}
	return cache.Lock(ctx, filepath.Join(a.dir, "lock"))
}

func (a *Apt) options(ownLists bool) []string {
	set := []string{
		"Dir::Cache=" + a.dir,
		"Dir::Cache::archives=" + filepath.Join(a.dir, "archives"),
		"Dir::State=" + filepath.Join(a.dir, "state"),
		"Dir::State::status=/dev/null", // nothing is installed: resolve every dependency
		"APT::Sandbox::User=root",
		"APT::Install-Recommends=0",
		"Debug::NoLocking=1",
		"Dpkg::Use-Pty=0",
	}
	if ownLists {
		set = append(set, "Dir::State::lists="+filepath.Join(a.dir, "lists"))
	} else {
		set = append(set, "Dir::State::lists=/var/lib/apt/lists")
	}
	args := []string{"-qq", "-y"}
	for _, s := range set {
		args = append(args, "-o", s)
	}
	return args
}

func (a *Apt) download(ctx context.Context, q Query, options []string) ([]string, error) {
	verb := []string{"--download-only", "install"}
	if q.NoDependencies {
		verb = []string{"download"}
	}
	// Asked what it would fetch, apt-get leaves out what is there already: show it an empty directory.
	listing, err := a.run(ctx, "empty", slices.Concat(options,
		[]string{"-o", "Dir::Cache::archives=" + filepath.Join(a.dir, "empty"), "--print-uris"}, verb, q.Packages)...)
	if err != nil {
		return nil, err
	}
	if _, err := a.run(ctx, "archives", slices.Concat(options, verb, q.Packages)...); err != nil {
		return nil, err
	}
	var archives []string
	for line := range strings.Lines(listing) {
		// 'URI' FILE SIZE HASH
		if fields := strings.Fields(line); len(fields) >= 3 && strings.HasPrefix(fields[0], "'") {
			archives = append(archives, filepath.Join(a.dir, "archives", fields[1]))
		}
	}
	if len(archives) == 0 {
		return nil, fmt.Errorf("apt-get names no archive for %s:\n%s", strings.Join(q.Packages, " "), listing)
	}
	for _, archive := range archives {
		if _, err := os.Stat(archive); err != nil {
			return nil, err
		}
	}
	return archives, nil
}

// run calls apt-get in a subdirectory, which is where "download" puts and looks for its files.
func (a *Apt) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = filepath.Join(a.dir, dir)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("apt-get %s: %w\n%s", args[len(args)-1], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Unpack writes an archive's files under root, without running its scripts.
func Unpack(ctx context.Context, archive, root string) error {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", archive, root).CombinedOutput()
	if err != nil {
		return fmt.Errorf("unpack %s: %w\n%s", filepath.Base(archive), err, out)
	}
	return nil
}
