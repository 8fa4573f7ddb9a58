// Package containerlog keeps the logs of containers from filling the disk.
// See https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-rotation.
package containerlog

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

const (
	stampFormat = "20060102-150405"
	gzipSuffix  = ".gz"
	tempSuffix  = ".tmp"
)

// Rotator begins a new log file for a container whose log has become large, and
// removes the oldest ones.
type Rotator struct {
	// MaxSize is in bytes; a negative one never rotates.
	MaxSize int64
	// MaxFiles is the number of files a container may have, the current one included.
	MaxFiles int
	Every    time.Duration
	// Pods lists what is in the runtime.
	Pods func() []*runtime.Pod
	// Reopen has the runtime begin a new file.
	Reopen func(ctx context.Context, containerID string) error
}

// Run rotates until ctx ends.
func (r *Rotator) Run(ctx context.Context) {
	if r.MaxSize < 0 {
		return
	}
	ticker := time.NewTicker(r.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for _, pod := range r.Pods() {
			for _, c := range pod.RunningContainers() {
				if err := r.look(ctx, c); err != nil {
					klog.FromContext(ctx).Error(err, "Rotate a log", "pod", klog.KRef(pod.Namespace, pod.Name), "container", c.Name())
				}
			}
		}
	}
}

func (r *Rotator) look(ctx context.Context, c *runtime.Container) error {
	path := c.GetLogPath()
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		// An earlier rotation was interrupted.
		return r.Reopen(ctx, c.Id)
	}
	if err != nil || info.Size() < r.MaxSize {
		return err
	}
	return r.rotate(ctx, path, c.Id)
}

// rotate moves the current log aside. The one moved last stays as it is, since
// somebody may still read it; older ones are compressed.
func (r *Rotator) rotate(ctx context.Context, path, id string) error {
	older, err := filepath.Glob(path + ".*")
	if err != nil {
		return err
	}
	older = slices.DeleteFunc(older, func(name string) bool {
		return strings.HasSuffix(name, tempSuffix) && os.Remove(name) == nil
	})
	slices.Sort(older)
	// Besides the current file and the one about to be moved there is room for the rest.
	for room := max(r.MaxFiles-2, 0); len(older) > room; older = older[1:] {
		if err := os.Remove(older[0]); err != nil {
			return err
		}
	}
	for _, name := range older {
		if !strings.HasSuffix(name, gzipSuffix) {
			if err := compress(name); err != nil {
				return fmt.Errorf("compress %s: %w", name, err)
			}
		}
	}
	moved := path + "." + time.Now().Format(stampFormat)
	if err := os.Rename(path, moved); err != nil {
		return err
	}
	if err := r.Reopen(ctx, id); err != nil {
		// The container still writes to the old file: keep its name.
		return errors.Join(err, os.Rename(moved, path))
	}
	return nil
}

func compress(name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := name + tempSuffix
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	writer := gzip.NewWriter(out)
	_, err = io.Copy(writer, in)
	if err := errors.Join(err, writer.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, name+gzipSuffix); err != nil {
		return err
	}
	return os.Remove(name)
}
