// Package runtime is everything about a node's container runtime: which
// programs and images it needs, containerd's configuration and command line,
// and a data directory in which every image is already unpacked.
//
// Images are unpacked once per host, into a template. A node's directory is the
// template's small databases, copied, and links to its blobs and snapshots, so it is
// made in milliseconds, and what a node removes is only its own link.
package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/images"
)

// Assets are the things in the cache that every node shares.
type Assets struct {
	Binaries binaries.Set  // containerd, containerd-shim-runc-v2, runc, CNI plugins, coredns, etcdctl
	Images   images.Layout // all images as an OCI layout
	Template string        // containerd's data directory with all images unpacked
}

// Build returns the assets, making what the cache lacks; progress is told each
// step that takes time. Outside the repository, where the recipes are not at
// hand, the assets that were built last are used.
func Build(ctx context.Context, progress func(string)) (Assets, error) {
	store, err := cache.Default()
	if err != nil {
		return Assets{}, err
	}
	if progress == nil {
		progress = func(string) {}
	}
	source, err := cache.Source()
	if errors.Is(err, cache.ErrNoSource) {
		assets, lastErr := lastBuilt(store)
		if lastErr != nil {
			return Assets{}, fmt.Errorf("%w, and nothing was built before: %w", err, lastErr)
		}
		return assets, nil
	}
	if err != nil {
		return Assets{}, err
	}
	var a Assets
	builder := images.Builder{Store: store, Source: source, Progress: progress}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		a.Binaries, err = binaries.Build(gctx, store, source, progress)
		return err
	})
	group.Go(func() error { return builder.Prefetch(gctx) })
	if err := group.Wait(); err != nil {
		return Assets{}, err
	}
	if a.Images, err = builder.Build(ctx, a.Binaries); err != nil {
		return Assets{}, err
	}
	entry := cache.Entry{Kind: "containerd", Key: cache.NewKey().Add("template/1", filepath.Base(a.Images.Dir)).String()}
	a.Template, err = store.Ensure(ctx, entry, func(ctx context.Context, dir string) error {
		progress("unpack images")
		return unpack(ctx, a.Images, dir)
	})
	if err != nil {
		return Assets{}, fmt.Errorf("unpack images: %w", err)
	}
	return a, a.remember(store)
}

const lastFile = "last.json"

func (a Assets) remember(store cache.Store) error {
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(store.Dir, lastFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	tmp, err := os.CreateTemp(store.Dir, lastFile)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func lastBuilt(store cache.Store) (Assets, error) {
	data, err := os.ReadFile(filepath.Join(store.Dir, lastFile))
	if err != nil {
		return Assets{}, err
	}
	var a Assets
	if err := json.Unmarshal(data, &a); err != nil {
		return Assets{}, fmt.Errorf("%s: %w", filepath.Join(store.Dir, lastFile), err)
	}
	for _, dir := range []string{a.Binaries.Dir, a.Images.Dir, a.Template} {
		if _, err := os.Stat(dir); err != nil {
			return Assets{}, err
		}
	}
	return a, nil
}
