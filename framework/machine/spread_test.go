package machine

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "pods")
	if err := Spread(path, 0o700); err != nil {
		t.Fatal(err)
	}
	directory, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	if info, err := directory.Stat(); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("made with mode %v (%v)", info.Mode(), err)
	}
	flags, err := unix.IoctlGetUint32(int(directory.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		t.Skipf("the file system under %s has no flags: %v", path, err)
	}
	if set := flags&topDirectory != 0; set != withoutJournal(directory) {
		t.Errorf("the flag is set: %t, on an ext4 without a journal: %t", set, withoutJournal(directory))
	}
	if err := Spread(path, 0o700); err != nil {
		t.Errorf("a second time: %v", err)
	}
}
