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
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/images"
)

// Assets are the things in the cache that nodes share.
type Assets struct {
	Binaries binaries.Set    // containerd, containerd-shim-runc-v2, runc, CNI plugins, coredns, etcdctl
	Images   []images.Layout // all images
	Template string          // containerd's data directory with all images unpacked
}

// Additions are images that nodes have beside the standard ones.
type Additions struct {
	Sets     []images.Set
	Archives []string // paths, as for images.Builder.Import
}

// Build returns the assets, making what the cache lacks; progress is told each
// step that takes time. Outside the repository, where the recipes are not at
// hand, the programs and image sets that were built last are used.
func Build(ctx context.Context, more Additions, progress func(string)) (Assets, error) {
	if progress == nil {
		progress = func(string) {}
	}
	store, err := cache.Default()
	if err != nil {
		return Assets{}, err
	}
	sets := append([]images.Set{images.Standard()}, more.Sets...)
	builder := images.Builder{Store: store, Progress: progress}
	var a Assets
	builder.Source, err = cache.Source()
	switch {
	case errors.Is(err, cache.ErrNoSource):
		if a, err = lastBuilt(store, sets); err != nil {
			return Assets{}, fmt.Errorf("%w, and %w", cache.ErrNoSource, err)
		}
	case err != nil:
		return Assets{}, err
	default:
		if a, err = build(ctx, builder, sets); err != nil {
			return Assets{}, err
		}
	}
	for _, path := range more.Archives {
		layout, err := builder.Import(ctx, path)
		if err != nil {
			return Assets{}, err
		}
		a.Images = append(a.Images, layout)
	}
	a.Template, err = unpacked(ctx, builder, a.Images)
	return a, err
}

// build makes the programs and the sets of images side by side.
func build(ctx context.Context, builder images.Builder, sets []images.Set) (Assets, error) {
	a := Assets{Images: make([]images.Layout, len(sets))}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		a.Binaries, err = binaries.Runtime().Build(gctx, builder.Store, builder.Source, builder.Progress)
		return err
	})
	for i, set := range sets {
		group.Go(func() (err error) {
			a.Images[i], err = builder.Build(gctx, set)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Assets{}, err
	}
	return a, remember(builder.Store, a, sets)
}

// unpacked returns a data directory with the images of the layouts unpacked. It is
// that of all layouts but the last, adopted as a node would, and the last.
func unpacked(ctx context.Context, builder images.Builder, layouts []images.Layout) (string, error) {
	key := cache.NewKey().Add("template/3")
	for _, layout := range layouts {
		key.Add(filepath.Base(layout.Dir))
	}
	dir, err := builder.Store.Ensure(ctx, cache.Entry{Kind: "containerd", Key: key.String()}, func(ctx context.Context, dir string) error {
		before := len(layouts) - 1
		if before > 0 {
			base, err := unpacked(ctx, builder, layouts[:before])
			if err != nil {
				return err
			}
			if err := adopt(base, dir); err != nil {
				return err
			}
		}
		builder.Progress("unpack images")
		return unpack(ctx, layouts[before], dir)
	})
	if err != nil {
		return "", fmt.Errorf("unpack images: %w", err)
	}
	return dir, nil
}
