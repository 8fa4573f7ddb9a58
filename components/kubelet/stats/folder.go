package stats

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// folder adds up the blocks and inodes below some directories. What vanishes while it is
// counted is left out; a file with several names counts once.
type folder struct {
	bytes, inodes uint64
	seen          map[[2]uint64]bool
}

func (f *folder) add(root string) error {
	if f.seen == nil {
		f.seen = map[[2]uint64]bool{}
	}
	var device uint64
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // it vanished between being listed and looked at
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if path == root {
			device = stat.Dev
		}
		if stat.Dev != device && entry.IsDir() {
			return filepath.SkipDir // another file system is mounted here
		}
		id := [2]uint64{stat.Dev, stat.Ino}
		if f.seen[id] {
			return nil
		}
		f.seen[id] = true
		f.bytes += uint64(stat.Blocks) * 512
		f.inodes++
		return nil
	})
}

func (f *folder) stats() statsapi.FsStats {
	bytes, inodes := f.bytes, f.inodes
	return statsapi.FsStats{Time: metav1.NewTime(time.Now()), UsedBytes: &bytes, InodesUsed: &inodes}
}
