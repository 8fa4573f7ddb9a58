package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/distribution/reference"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

// collectEvery is how often the disk is looked at.
const collectEvery = 5 * time.Minute

// CollectorConfig is what a Collector needs.
type CollectorConfig struct {
	Images  internalapi.ImageManagerService
	Runtime internalapi.RuntimeService
	// High is the share of the disk, in percent, above which images are removed,
	// until only Low is used. A High of 100 never removes any.
	High, Low int
	// MinAge is how long an image is kept at least; MaxAge, if not 0, how long an
	// unused one is kept at most.
	MinAge, MaxAge time.Duration
	// Mounted names the images that pods have as volumes: no container's list shows them.
	Mounted func() []string
	// Disk measures the file system of the images.
	Disk func(ctx context.Context) (used, capacity uint64, err error)
	// Warn is told when the disk stays too full.
	Warn func(reason, message string)
}

// Collector removes images that no container uses when the disk runs full.
// See https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle.
type Collector struct {
	c CollectorConfig

	mu   sync.Mutex
	seen map[string]record
}

// record is what is remembered of an image.
type record struct {
	first, used time.Time
}

// NewCollector returns a collector.
func NewCollector(c CollectorConfig) *Collector {
	return &Collector{c: c, seen: map[string]record{}}
}

// Run collects until ctx ends.
func (g *Collector) Run(ctx context.Context) {
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		if err := g.collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Remove unused images")
			g.c.Warn("ImageGCFailed", err.Error())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// collect keeps the disk between its thresholds.
func (g *Collector) collect(ctx context.Context) error {
	candidates, err := g.unused(ctx)
	if err != nil {
		return err
	}
	if g.c.MaxAge > 0 {
		candidates = slices.DeleteFunc(candidates, func(c candidate) bool {
			return time.Since(c.used) > g.c.MaxAge && g.remove(ctx, c) == nil
		})
	}
	if g.c.High >= 100 {
		return nil
	}
	used, capacity, err := g.c.Disk(ctx)
	if err != nil || capacity == 0 {
		return errors.Join(err, errors.New("invalid capacity 0 on image filesystem"))
	}
	if percent := used * 100 / capacity; percent < uint64(g.c.High) {
		return nil
	}
	wanted := used - capacity*uint64(g.c.Low)/100
	if freed := g.free(ctx, candidates, wanted); freed < wanted {
		message := fmt.Sprintf("Attempted to free %d bytes, but only found %d bytes eligible to free.", wanted, freed)
		g.c.Warn("FreeDiskSpaceFailed", message)
	}
	return nil
}

// RemoveUnused removes all images that no container uses, unless images are never to
// be removed: a node without a registry could not get them again.
func (g *Collector) RemoveUnused(ctx context.Context) error {
	if g.c.High >= 100 {
		return nil
	}
	candidates, err := g.unused(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range candidates {
		errs = append(errs, g.remove(ctx, c))
	}
	return errors.Join(errs...)
}

// candidate is an image that could be removed.
type candidate struct {
	*runtimeapi.Image
	record
}

// unused lists the images that nothing uses, the longest unused first.
func (g *Collector) unused(ctx context.Context) ([]candidate, error) {
	images, err := g.c.Images.ListImages(ctx, nil)
	if err != nil {
		return nil, err
	}
	containers, err := g.c.Runtime.ListContainers(ctx, nil)
	if err != nil {
		return nil, err
	}
	inUse := map[string]bool{}
	for _, c := range containers {
		for _, name := range []string{c.ImageId, c.ImageRef, c.GetImage().GetImage()} {
			inUse[name] = true
		}
	}
	for _, name := range g.c.Mounted() {
		if named, err := reference.ParseDockerRef(name); err == nil {
			inUse[named.String()] = true
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	present := map[string]bool{}
	var out []candidate
	for _, image := range images {
		present[image.Id] = true
		r, known := g.seen[image.Id]
		if !known {
			r = record{first: now, used: now}
		}
		used := inUse[image.Id] || image.Pinned
		for _, name := range append(slices.Clone(image.RepoTags), image.RepoDigests...) {
			used = used || inUse[name]
		}
		if used {
			r.used = now
		}
		g.seen[image.Id] = r
		if !used {
			out = append(out, candidate{Image: image, record: r})
		}
	}
	for id := range g.seen {
		if !present[id] {
			delete(g.seen, id)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(a.used.Compare(b.used), a.first.Compare(b.first), cmp.Compare(a.Id, b.Id))
	})
	return out, nil
}

// free removes images until as much as wanted is free.
func (g *Collector) free(ctx context.Context, candidates []candidate, wanted uint64) (freed uint64) {
	for _, c := range candidates {
		if freed >= wanted {
			break
		}
		if time.Since(c.first) < g.c.MinAge {
			continue
		}
		if g.remove(ctx, c) == nil {
			freed += c.Size
		}
	}
	return freed
}

func (g *Collector) remove(ctx context.Context, c candidate) error {
	klog.FromContext(ctx).Info("Removing an unused image", "image", c.RepoTags, "size", c.Size)
	return g.c.Images.RemoveImage(ctx, &runtimeapi.ImageSpec{Image: c.Id})
}
