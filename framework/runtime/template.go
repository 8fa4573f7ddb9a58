package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	ctdimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.etcd.io/bbolt"

	"github.com/plumbline/plumbline/framework/images"
)

// Where containerd's plugins keep their data below its root.
const (
	contentDir  = "io.containerd.content.v1.content"
	metadataDir = "io.containerd.metadata.v1.bolt"
	snapshotDir = "io.containerd.snapshotter.v1.overlayfs"
	snapshotter = "overlayfs"
)

// The CRI plugin's marks on the images it manages, see
// https://github.com/containerd/containerd/blob/main/docs/cri/architecture.md.
const (
	managedLabel = "io.cri-containerd.image"
	pinnedLabel  = "io.cri-containerd.pinned"
)

// template is a containerd root under construction, worked on with containerd's
// own stores: no daemon runs and nothing is mounted.
type template struct {
	layout  images.Layout
	meta    *metadata.DB
	content content.Store
	snaps   snapshots.Snapshotter
	images  ctdimages.Store
}

// unpack adds the images of a layout to the containerd root at dir, which is made if
// it is empty. Of images of one name the last one counts.
func unpack(ctx context.Context, layout images.Layout, dir string) (err error) {
	ctx = namespaces.WithNamespace(ctx, "k8s.io")
	// containerd's stores warn of what a daemon's operator may care about, through a logger of their own.
	if err := log.SetLevel("error"); err != nil {
		return err
	}
	if err := linkBlobs(layout.Dir, filepath.Join(dir, contentDir)); err != nil {
		return err
	}
	blobs, err := local.NewStore(filepath.Join(dir, contentDir))
	if err != nil {
		return err
	}
	snaps, err := overlay.NewSnapshotter(filepath.Join(dir, snapshotDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snaps.Close()) }()
	if err := os.MkdirAll(filepath.Join(dir, metadataDir), 0o711); err != nil {
		return err
	}
	db, err := bbolt.Open(filepath.Join(dir, metadataDir, "meta.db"), 0o644, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	meta := metadata.NewDB(db, blobs, map[string]snapshots.Snapshotter{snapshotter: snaps})
	if err := meta.Init(ctx); err != nil {
		return err
	}
	t := template{layout: layout, meta: meta, content: meta.ContentStore(), snaps: meta.Snapshotter(snapshotter),
		images: metadata.NewImageStore(meta)}
	named, err := layout.Images()
	if err != nil {
		return err
	}
	for _, img := range named {
		if err := t.add(ctx, img); err != nil {
			return fmt.Errorf("image %s: %w", img.Name, err)
		}
	}
	return nil
}

func linkBlobs(layout, contentRoot string) error {
	from, to := filepath.Join(layout, "blobs/sha256"), filepath.Join(contentRoot, "blobs/sha256")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return eachName(from, func(name string) error {
		err := os.Link(filepath.Join(from, name), filepath.Join(to, name))
		if errors.Is(err, fs.ErrExist) {
			return nil // an earlier layout has it too
		}
		return err
	})
}

// add registers one image's blobs, unpacks its layers and names it.
func (t template) add(ctx context.Context, named images.Named) error {
	adopt := ctdimages.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return nil, t.adopt(ctx, desc)
	})
	children := ctdimages.SetChildrenLabels(t.content, ctdimages.ChildrenHandler(t.content))
	if err := ctdimages.Walk(ctx, ctdimages.Handlers(adopt, children), named.Descriptor); err != nil {
		return err
	}
	img := ctdimages.Image{Name: named.Name, Target: named.Descriptor, Labels: map[string]string{managedLabel: "managed"}}
	if named.Name == images.Pause {
		img.Labels[pinnedLabel] = "pinned"
	}
	chain, err := t.unpackLayers(ctx, img)
	if err != nil {
		return err
	}
	config, err := img.Config(ctx, t.content, platforms.Default())
	if err != nil {
		return err
	}
	// The snapshots live as long as the image's configuration.
	label := "containerd.io/gc.ref.snapshot." + snapshotter
	info := content.Info{Digest: config.Digest, Labels: map[string]string{label: chain.String()}}
	if _, err := t.content.Update(ctx, info, "labels."+label); err != nil {
		return err
	}
	// The CRI knows an image by its ID as well.
	for _, ref := range []string{named.Name, config.Digest.String()} {
		img.Name = ref
		_, err := t.images.Create(ctx, img)
		if errdefs.IsAlreadyExists(err) {
			_, err = t.images.Update(ctx, img)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// adopt makes a blob that lies in the store's directory known to the database.
func (t template) adopt(ctx context.Context, desc ocispec.Descriptor) error {
	blob, err := os.Open(filepath.Join(t.layout.Dir, "blobs", desc.Digest.Algorithm().String(), desc.Digest.Encoded()))
	if err != nil {
		return err
	}
	defer blob.Close()
	return content.WriteBlob(ctx, t.content, desc.Digest.String(), blob, desc)
}

// unpackLayers makes a committed snapshot of each layer upon the last, named by
// chain ID as containerd does, and returns the topmost.
func (t template) unpackLayers(ctx context.Context, img ctdimages.Image) (digest.Digest, error) {
	diffIDs, err := img.RootFS(ctx, t.content, platforms.Default())
	if err != nil {
		return "", err
	}
	manifest, err := ctdimages.Manifest(ctx, t.content, img.Target, platforms.Default())
	if err != nil {
		return "", err
	}
	if len(manifest.Layers) != len(diffIDs) {
		return "", fmt.Errorf("%d layers but %d diff IDs", len(manifest.Layers), len(diffIDs))
	}
	parent := ""
	for i, layer := range manifest.Layers {
		chain := identity.ChainID(diffIDs[:i+1]).String()
		if err := t.unpackLayer(ctx, layer, parent, chain); err != nil {
			return "", fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
		parent = chain
	}
	return digest.Digest(parent), nil
}

func (t template) unpackLayer(ctx context.Context, layer ocispec.Descriptor, parent, chain string) error {
	if _, err := t.snaps.Stat(ctx, chain); err == nil {
		return nil
	}
	// The root label keeps the snapshot until the image that owns it exists.
	root := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "true"})
	key := "unpack-" + chain
	mounts, err := t.snaps.Prepare(ctx, key, parent, root)
	if err != nil {
		return err
	}
	path, below, err := layerDirs(mounts)
	if err != nil {
		return err
	}
	blob, err := t.content.ReaderAt(ctx, layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	tar, err := compression.DecompressStream(content.NewReader(blob))
	if err != nil {
		return err
	}
	defer tar.Close()
	opts := []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)}
	if len(below) > 0 {
		opts = append(opts, archive.WithParents(below))
	}
	if _, err := archive.Apply(ctx, path, tar, opts...); err != nil {
		return err
	}
	return t.snaps.Commit(ctx, chain, key)
}

// layerDirs reads from an overlay snapshot's mounts the directory to write to
// and the directories below it, the nearest first.
func layerDirs(mounts []mount.Mount) (upper string, lower []string, err error) {
	if len(mounts) != 1 {
		return "", nil, fmt.Errorf("%d mounts for one snapshot", len(mounts))
	}
	if mounts[0].Type == "bind" {
		return mounts[0].Source, nil, nil
	}
	for _, option := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			upper = dir
		}
		if dirs, ok := strings.CutPrefix(option, "lowerdir="); ok {
			lower = strings.Split(dirs, ":")
		}
	}
	if upper == "" {
		return "", nil, fmt.Errorf("no upper directory in %v", mounts[0].Options)
	}
	return upper, lower, nil
}

func eachName(dir string, do func(name string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := do(name); err != nil {
			return err
		}
	}
	return nil
}
