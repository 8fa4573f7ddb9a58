// Package images makes the container images that the harness runs, offline:
// from programs built here, from our own sources under fixtures/images and from
// Debian packages. All of them lie in one OCI layout in the cache.
package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/cache"
)

// Pause is the image of pod sandboxes.
const Pause = "registry.k8s.io/pause:3.10.2"

// NameAnnotation holds an image's full name in the layout's index, as containerd's import reads it.
const NameAnnotation = "io.containerd.image.name"

// Layout is an OCI image layout directory.
type Layout struct {
	Dir string
}

// A recipe makes one image, known under one or more full names.
type recipe struct {
	names  []string
	layers []layer
	config v1.Config
}

// Builder makes images from a repository's fixtures.
type Builder struct {
	Store    cache.Store
	Source   string // the repository
	Progress func(string)
}

// Prefetch makes the layers that need none of the built binaries, so that it
// can go on beside their build.
func (b Builder) Prefetch(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	seen := map[string]bool{}
	for _, r := range recipes(nil) {
		for _, l := range r.layers {
			if seen[l.name] {
				continue
			}
			seen[l.name] = true
			group.Go(func() error {
				_, err := b.layer(ctx, l)
				return err
			})
		}
	}
	return group.Wait()
}

// Build returns the layout with all images, making what the cache lacks.
func (b Builder) Build(ctx context.Context, bins binaries.Set) (Layout, error) {
	all := recipes(&bins)
	key := cache.NewKey().Add("images/1", runtime.GOARCH)
	for _, r := range all {
		key.Add(r.names, fmt.Sprintf("%+v", r.config))
		for _, l := range r.layers {
			k, err := l.key(b.Source)
			if err != nil {
				return Layout{}, fmt.Errorf("image %s: %w", r.names[0], err)
			}
			key.Add(k)
		}
	}
	dir, err := b.Store.Ensure(ctx, cache.Entry{Kind: "images", Key: key.String()}, func(ctx context.Context, dir string) error {
		index, err := layout.Write(dir, empty.Index)
		if err != nil {
			return err
		}
		for _, r := range all {
			b.Progress("image " + r.names[0])
			img, err := b.image(ctx, r)
			if err != nil {
				return fmt.Errorf("image %s: %w", r.names[0], err)
			}
			for _, name := range r.names {
				if err := index.AppendImage(img, layout.WithAnnotations(map[string]string{NameAnnotation: name})); err != nil {
					return fmt.Errorf("image %s: %w", name, err)
				}
			}
		}
		return nil
	})
	return Layout{Dir: dir}, err
}

func (b Builder) image(ctx context.Context, r recipe) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: r.config})
	if err != nil {
		return nil, err
	}
	for _, l := range r.layers {
		dir, err := b.layer(ctx, l)
		if err != nil {
			return nil, err
		}
		blob := tarLayer(filepath.Join(dir, layerFile))
		if img, err = mutate.Append(img, mutate.Addendum{Layer: blob, History: v1.History{CreatedBy: "plumbline " + l.name}}); err != nil {
			return nil, err
		}
	}
	return img, nil
}

// layer returns the cache directory that holds the layer's tar.
func (b Builder) layer(ctx context.Context, l layer) (string, error) {
	key, err := l.key(b.Source)
	if err != nil {
		return "", err
	}
	return b.Store.Ensure(ctx, cache.Entry{Kind: "layers", Key: l.name + "-" + key}, func(ctx context.Context, dir string) error {
		b.Progress("layer " + l.name)
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			return err
		}
		if err := l.fill(ctx, b, root); err != nil {
			return fmt.Errorf("layer %s: %w", l.name, err)
		}
		if err := writeTar(root, filepath.Join(dir, layerFile)); err != nil {
			return fmt.Errorf("layer %s: %w", l.name, err)
		}
		return os.RemoveAll(root)
	})
}

const layerFile = "layer.tar"
