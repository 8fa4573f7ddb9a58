package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// subPath makes a part of a volume available at a path of its own that does not
// change when somebody in a container exchanges directories of the volume for
// symbolic links: it is resolved once, beneath the volume only, and what was found
// is bind-mounted.
func (m *Manager) subPath(uid types.UID, volume, container string, index int, root, sub string) (string, error) {
	if filepath.IsAbs(sub) {
		return "", fmt.Errorf("subPath should not be an absolute path: %s", sub)
	}
	for _, part := range strings.Split(sub, "/") {
		if part == ".." {
			return "", fmt.Errorf("subPath should not contain '..': %s", sub)
		}
	}
	base, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(base)
	found, err := openBeneath(base, sub)
	if errors.Is(err, unix.ENOENT) {
		if err := makeBeneath(base, sub); err != nil {
			return "", err
		}
		found, err = openBeneath(base, sub)
	}
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath %q of volume %q: %w", sub, volume, err)
	}
	defer unix.Close(found)

	target := filepath.Join(m.PodDir(uid), "volume-subpaths", volume, container, strconv.Itoa(index))
	// What an earlier run of the container had is replaced: the volume's content may
	// have moved since.
	_ = unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	var stat unix.Stat_t
	if err := unix.Fstat(found, &stat); err != nil {
		return "", err
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.MkdirAll(target, 0o750); err != nil {
			return "", err
		}
	} else {
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return "", err
		}
		f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o640)
		if err != nil {
			return "", err
		}
		f.Close()
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", found), target, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("bind subPath %q of volume %q: %w", sub, volume, err)
	}
	return target, nil
}

func openBeneath(base int, path string) (int, error) {
	return unix.Openat2(base, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// makeBeneath makes the missing directories of a path, with the mode of the volume.
func makeBeneath(base int, path string) error {
	var stat unix.Stat_t
	if err := unix.Fstat(base, &stat); err != nil {
		return err
	}
	mode := stat.Mode & 0o7777
	at := base
	defer func() {
		if at != base {
			unix.Close(at)
		}
	}()
	for _, part := range strings.Split(filepath.Clean(path), "/") {
		next, err := openBeneath(at, part)
		if errors.Is(err, unix.ENOENT) {
			if err := unix.Mkdirat(at, part, mode); err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
			if next, err = openBeneath(at, part); err == nil {
				// The umask must not narrow it, and the volume's group must own it.
				if err := os.Chmod(fmt.Sprintf("/proc/self/fd/%d", next), os.FileMode(mode&0o777)|setgid(mode)); err != nil {
					unix.Close(next)
					return err
				}
			}
		}
		if err != nil {
			return err
		}
		if at != base {
			unix.Close(at)
		}
		at = next
	}
	return nil
}

func setgid(mode uint32) os.FileMode {
	if mode&unix.S_ISGID != 0 {
		return os.ModeSetgid
	}
	return 0
}
