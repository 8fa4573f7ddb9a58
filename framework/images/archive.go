package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/plumbline/plumbline/framework/cache"
)

// refNameAnnotation is the standard's own place for an image's name in an index.
const refNameAnnotation = "org.opencontainers.image.ref.name"

// Import returns a layout with the images of an archive that somebody else made: a
// tar file as docker save writes it, or an OCI image layout as a directory or a tar
// file. Of images for several platforms it takes the one for this host.
func (b Builder) Import(ctx context.Context, path string) (Layout, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Layout{}, err
	}
	index := path
	if info.IsDir() {
		// A layout's content is what its index says it is.
		index = filepath.Join(path, "index.json")
	}
	key := cache.NewKey().Add("import/1", runtime.GOARCH)
	if err := key.AddFiles(filepath.Dir(index), filepath.Base(index)); err != nil {
		return Layout{}, notAnArchive(path, err)
	}
	dir, err := b.Store.Ensure(ctx, cache.Entry{Kind: "images", Key: key.String()}, func(ctx context.Context, dir string) error {
		b.Progress("import images from " + filepath.Base(path))
		into, err := layout.Write(dir, empty.Index)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return importLayout(into, path)
		}
		return importTar(ctx, into, path)
	})
	if err != nil {
		return Layout{}, notAnArchive(path, err)
	}
	return Layout{Dir: dir}, nil
}

func notAnArchive(path string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: neither an OCI image layout nor a tar file of docker save: %w", path, err)
}

func importTar(ctx context.Context, into layout.Path, path string) error {
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		// Not docker's, but it may be a layout packed into one file.
		unpacked, tempErr := os.MkdirTemp(filepath.Dir(string(into)), "import-")
		if tempErr != nil {
			return tempErr
		}
		defer os.RemoveAll(unpacked)
		if out, tarErr := exec.CommandContext(ctx, "tar", "--extract", "--no-same-owner", "--directory", unpacked, "--file", path).CombinedOutput(); tarErr != nil {
			return fmt.Errorf("unpack: %w\n%s", tarErr, out)
		}
		if _, statErr := os.Stat(filepath.Join(unpacked, "index.json")); statErr != nil {
			return err
		}
		return importLayout(into, unpacked)
	}
	for _, described := range manifest {
		if len(described.RepoTags) == 0 {
			return errors.New("an image in it has no name: save it by name, not by ID")
		}
		for _, tag := range described.RepoTags {
			full, err := FullName(tag)
			if err != nil {
				return err
			}
			wanted, err := name.NewTag(tag)
			if err != nil {
				return err
			}
			img, err := tarball.Image(open, &wanted)
			if err != nil {
				return fmt.Errorf("image %s: %w", tag, err)
			}
			if err := appendImage(into, img, full); err != nil {
				return err
			}
		}
	}
	return nil
}

func importLayout(into layout.Path, dir string) error {
	from, err := layout.FromPath(dir)
	if err != nil {
		return err
	}
	index, err := from.ImageIndex()
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, desc := range manifest.Manifests {
		full, err := FullName(cmp.Or(desc.Annotations[NameAnnotation], desc.Annotations[refNameAnnotation]))
		if err != nil {
			return fmt.Errorf("image %s: its name is to stand in the annotation %s or %s: %w", desc.Digest, NameAnnotation, refNameAnnotation, err)
		}
		img, err := imageForHost(index, desc)
		if err != nil {
			return fmt.Errorf("image %s: %w", full, err)
		}
		if err := appendImage(into, img, full); err != nil {
			return err
		}
	}
	if len(manifest.Manifests) == 0 {
		return errors.New("no image is in it")
	}
	return nil
}

// imageForHost is the image of a descriptor, or the one of this host's platform if
// the descriptor is of an index of several.
func imageForHost(index v1.ImageIndex, desc v1.Descriptor) (v1.Image, error) {
	if desc.MediaType.IsImage() {
		return index.Image(desc.Digest)
	}
	if !desc.MediaType.IsIndex() {
		return nil, fmt.Errorf("media type %s is not an image's", desc.MediaType)
	}
	inner, err := index.ImageIndex(desc.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := inner.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if d.Platform == nil || d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH {
			return imageForHost(inner, d)
		}
	}
	return nil, fmt.Errorf("%w: nothing for linux/%s", fs.ErrNotExist, runtime.GOARCH)
}

// Save writes a layout's images into a tar file as docker save writes it, which every
// container runtime and registry client reads.
func (l Layout) Save(path string) error {
	index, err := layout.ImageIndexFromPath(l.Dir)
	if err != nil {
		return err
	}
	all, err := l.Images()
	if err != nil {
		return err
	}
	saved := map[name.Tag]v1.Image{}
	for _, named := range all {
		tag, err := name.NewTag(named.Name)
		if err != nil {
			return err
		}
		digest, err := v1.NewHash(named.Descriptor.Digest.String())
		if err != nil {
			return err
		}
		if saved[tag], err = index.Image(digest); err != nil {
			return fmt.Errorf("image %s: %w", named.Name, err)
		}
	}
	partial := path + ".partial"
	if err := tarball.MultiWriteToFile(partial, saved); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	return os.Rename(partial, path)
}

func appendImage(into layout.Path, img v1.Image, name string) error {
	if err := into.AppendImage(img, named(name)); err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	return nil
}

// FullName is an image's name as a container runtime knows it, with registry and tag.
func FullName(name string) (string, error) {
	parsed, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	return parsed.String(), nil
}
