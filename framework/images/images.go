// Package images makes the container images that clusters run, offline: from
// programs built here, from sources in the repository and from Debian packages.
// A set of images is a list of recipes, made once per host into an OCI layout in
// the cache; images that somebody else made come in as an Archive.
package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/framework/cache"
)

// Pause is the image of pod sandboxes.
const Pause = "registry.k8s.io/pause:3.10.2"

// NameAnnotation holds an image's full name in the layout's index, as containerd's import reads it.
const NameAnnotation = "io.containerd.image.name"

// PathEnv is the environment variable PATH of the images made here.
const PathEnv = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Recipe makes one image, known under one or more full names.
type Recipe struct {
	Names  []string
	Layers []Layer
	Config v1.Config
}

// Set is a number of images that are made together and go under one name.
type Set struct {
	Name    string
	Recipes []Recipe
}

// Builder makes images.
type Builder struct {
	Store  cache.Store
	Source string // the repository
	// Progress is told of each step, by several goroutines at once.
	Progress func(string)
}

// Build returns the layout with all images of a set, making what the cache lacks.
func (b Builder) Build(ctx context.Context, set Set) (Layout, error) {
	key := cache.NewKey().Add("images/2", runtime.GOARCH)
	seen := map[string]string{}
	for _, r := range set.Recipes {
		key.Add(r.Names, fmt.Sprintf("%+v", r.Config))
		for _, l := range r.Layers {
			k, err := l.key(b.Source)
			if err != nil {
				return Layout{}, fmt.Errorf("image %s: %w", r.Names[0], err)
			}
			if other, ok := seen[l.name]; ok && other != k {
				return Layout{}, fmt.Errorf("image %s: another layer of the %s images is called %q too", r.Names[0], set.Name, l.name)
			}
			seen[l.name] = k
			key.Add(k)
		}
	}
	dir, err := b.Store.Ensure(ctx, cache.Entry{Kind: "images", Key: key.String()}, func(ctx context.Context, dir string) error {
		tars, err := b.layers(ctx, set)
		if err != nil {
			return err
		}
		return b.assemble(set, tars, dir)
	})
	return Layout{Dir: dir}, err
}

// layers makes all layers of a set side by side and returns them by name.
func (b Builder) layers(ctx context.Context, set Set) (map[string]*uncompressedLayer, error) {
	group, ctx := errgroup.WithContext(ctx)
	tars := map[string]*uncompressedLayer{}
	for _, r := range set.Recipes {
		for _, l := range r.Layers {
			if tars[l.name] != nil {
				continue
			}
			tar := &uncompressedLayer{}
			tars[l.name] = tar
			group.Go(func() error {
				dir, err := b.layer(ctx, l)
				if err != nil {
					return err
				}
				return tar.read(filepath.Join(dir, layerFile))
			})
		}
	}
	return tars, group.Wait()
}

func (b Builder) assemble(set Set, tars map[string]*uncompressedLayer, dir string) error {
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// Blobs that are there already are not written again: link the layers instead of copying them.
	blobs := filepath.Join(dir, "blobs/sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	for _, tar := range tars {
		if err := os.Link(tar.path, filepath.Join(blobs, tar.digest.Hex)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, r := range set.Recipes {
		b.Progress("image " + r.Names[0])
		img, err := image(r, tars)
		if err != nil {
			return fmt.Errorf("image %s: %w", r.Names[0], err)
		}
		for _, name := range r.Names {
			if err := index.AppendImage(img, named(name)); err != nil {
				return fmt.Errorf("image %s: %w", name, err)
			}
		}
	}
	return nil
}

// named marks an image of a layout with its full name.
func named(name string) layout.Option {
	return layout.WithAnnotations(map[string]string{NameAnnotation: name})
}

func image(r Recipe, tars map[string]*uncompressedLayer) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: r.Config})
	if err != nil {
		return nil, err
	}
	for _, l := range r.Layers {
		if img, err = mutate.Append(img, mutate.Addendum{Layer: tars[l.name], History: v1.History{CreatedBy: "plumbline " + l.name}}); err != nil {
			return nil, err
		}
	}
	return img, nil
}

// layer returns the cache directory that holds the layer's tar.
func (b Builder) layer(ctx context.Context, l Layer) (string, error) {
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
