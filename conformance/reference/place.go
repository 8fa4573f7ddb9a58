package reference

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/debian"
	"github.com/plumbline/plumbline/framework/machine"
)

// All stands for every component that there is a reference of.
const All = "all"

// Names are the components that there is a reference of.
func Names() []string {
	var names []string
	for _, program := range Components().Programs {
		names = append(names, program.Name)
	}
	return names
}

// Parse reads a choice of components: names, or lists of names with commas between
// them, or All.
func Parse(choices []string) ([]string, error) {
	chosen := map[string]bool{}
	for _, choice := range choices {
		for name := range strings.SplitSeq(choice, ",") {
			switch {
			case name == All:
				for _, each := range Names() {
					chosen[each] = true
				}
			case slices.Contains(Names(), name):
				chosen[name] = true
			default:
				return nil, fmt.Errorf("%q has no reference: choose of %s, or %s", name, strings.Join(Names(), ", "), All)
			}
		}
	}
	return slices.Sorted(maps.Keys(chosen)), nil
}

// Place puts Kubernetes' own components into a description in the place of ours, with
// the same command lines and files; they are built first where the cache lacks them.
func Place(ctx context.Context, description *v1alpha1.Cluster, names []string, progress func(string)) error {
	for _, name := range names {
		usual := description.Spec.Components[name]
		if usual.Program != "" {
			return fmt.Errorf("component %s: both the reference and %s are to run in its place", name, usual.Program)
		}
		change, err := Component(ctx, name, progress)
		if err != nil {
			return err
		}
		usual.Program, usual.Env = change.Program, append(usual.Env, change.Env...)
		if description.Spec.Components == nil {
			description.Spec.Components = map[string]v1alpha1.Component{}
		}
		description.Spec.Components[name] = usual
	}
	return nil
}

// Component is the change that runs Kubernetes' own component in the place of ours.
func Component(ctx context.Context, name string, progress func(string)) (v1alpha1.Component, error) {
	set, err := Build(ctx, Components(), progress)
	if err != nil {
		return v1alpha1.Component{}, err
	}
	change := v1alpha1.Component{Program: set.Path(name)}
	if name == cluster.Proxy {
		tool, err := packetFilterTool(ctx, progress)
		if err != nil {
			return v1alpha1.Component{}, fmt.Errorf("component %s: %w", name, err)
		}
		change.Env = []string{withPath(tool)}
	}
	return change, nil
}

// withPath is the search path of a machine's programs with one more directory.
func withPath(dir string) string {
	const variable = "PATH="
	for _, setting := range machine.DefaultEnv() {
		if usual, ok := strings.CutPrefix(setting, variable); ok {
			return variable + dir + ":" + usual
		}
	}
	return variable + dir
}

// packetFilterTool is a directory that holds the program nft, which Kubernetes' own
// kube-proxy calls. It comes from Debian's package with all its libraries and its
// loader, so that it runs whatever the host has.
func packetFilterTool(ctx context.Context, progress func(string)) (string, error) {
	store, err := cache.Default()
	if err != nil {
		return "", err
	}
	const pkg = "nftables"
	dir, err := store.Ensure(ctx, cache.Entry{Kind: "debian", Key: pkg}, func(ctx context.Context, dir string) error {
		progress("unpack nftables")
		archives, err := debian.New(store).Download(ctx, debian.Query{Packages: []string{pkg}})
		if err != nil {
			return err
		}
		for _, archive := range archives {
			if err := debian.Unpack(ctx, archive, filepath.Join(dir, "root")); err != nil {
				return err
			}
		}
		loaders, err := filepath.Glob(filepath.Join(dir, "root/lib*/ld-linux*"))
		if err != nil {
			return err
		}
		if len(loaders) == 0 {
			return errors.New("no loader of programs in the packages of nftables")
		}
		loader, err := filepath.Rel(dir, loaders[0])
		if err != nil {
			return err
		}
		script := fmt.Sprintf(`#!/bin/sh
here=$(dirname "$(realpath "$0")")
libraries=$(echo "$here"/root/lib/*-linux-gnu*):$(echo "$here"/root/usr/lib/*-linux-gnu*)
exec "$here/%s" --library-path "$libraries" "$here/root/usr/sbin/nft" "$@"
`, loader)
		return os.WriteFile(filepath.Join(dir, "nft"), []byte(script), 0o755)
	})
	return dir, err
}
