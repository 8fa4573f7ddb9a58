package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// makeImage makes an ext4 file system of a size in a sparse file. It is made
// before the machine starts, and mounted by its init process.
func makeImage(ctx context.Context, path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = errors.Join(file.Truncate(size), file.Close())
	if err != nil {
		return err
	}
	// No journal, nothing written that can be zero: the disk lives as long as the machine.
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", path)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("a disk limit needs mkfs.ext4 (Debian package e2fsprogs): %w %s", err, output)
	}
	return nil
}

const loopControl = "/dev/loop-control"

// mountImage mounts the file system in a file. The loop device frees itself when
// the last mount of it goes, which is when the machine ends.
func mountImage(path, target string) error {
	image, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer image.Close()
	device, err := attachLoop(image)
	if err != nil {
		return fmt.Errorf("a disk limit needs a loop device: %w", err)
	}
	defer device.Close()
	return mount(device.Name(), target, "ext4", 0, "")
}

func attachLoop(image *os.File) (*os.File, error) {
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(image.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	// Another machine may take the free device first; then there is a next one.
	for deadline := time.Now().Add(5 * time.Second); ; {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return nil, err
		}
	}
}
