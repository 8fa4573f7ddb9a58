package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Spread makes a directory of the host whose subdirectories come and go, such as those of
// pods, and has its file system put each of them into a part of its own. That matters to
// ext4 without a journal: it does not take an inode again within minutes of its deletion,
// and looks at all of those near a new file's directory one by one before it finds another.
// Other file systems are left to choose for themselves. It fails where the directory cannot
// be made.
func Spread(path string, mode os.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	defer directory.Close()
	if !withoutJournal(directory) {
		return nil
	}
	if flags, err := unix.IoctlGetUint32(int(directory.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		// Where it cannot be set, everything is only slower.
		_ = unix.IoctlSetPointerInt(int(directory.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDirectory))
	}
	return nil
}

// topDirectory is FS_TOPDIR_FL of linux/fs.h, the attribute T of chattr(1).
const topDirectory = 0x20000

// withoutJournal says whether a file is of an ext4 that has none, as far as the kernel tells.
func withoutJournal(file *os.File) bool {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return false
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return false
	}
	task, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "journal_task"))
	return err == nil && strings.TrimSpace(string(task)) == "<none>"
}
