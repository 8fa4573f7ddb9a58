package cluster

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/launch"
)

func TestTroublesAreWhatNobodyAskedFor(t *testing.T) {
	t.Setenv(StateVariable, t.TempDir())
	for name, test := range map[string]struct {
		changes []launch.Change
		want    string
	}{
		"runs":                      {[]launch.Change{launch.Started}, ""},
		"was killed":                {[]launch.Change{launch.Started, launch.Killed, launch.Ended, launch.Started}, ""},
		"was stopped":               {[]launch.Change{launch.Started, launch.Ended, launch.Stopped}, ""},
		"ended twice":               {[]launch.Change{launch.Started, launch.Ended, launch.Started, launch.Ended}, "ended 2 times by itself"},
		"was killed and then ended": {[]launch.Change{launch.Started, launch.Killed, launch.Ended, launch.Started, launch.Ended}, "ended 1 times by itself"},
		"was swapped after it":      {[]launch.Change{launch.Started, launch.Ended, launch.Started, launch.Ended, launch.Stopped, launch.Started}, ""},
	} {
		c := &Cluster{mishaps: map[string]mishap{}}
		for _, change := range test.changes {
			c.note(launch.Event{Time: time.Now(), Machine: "node-1", Component: Kubelet, Change: change, Detail: "exit status 1"}, "\nlast words")
		}
		got := strings.Join(c.Troubles(), "\n")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("a kubelet that %s: %q, want %q", name, got, test.want)
		}
		if test.want != "" && (!strings.Contains(got, "kubelet on node-1") || !strings.Contains(got, "last words")) {
			t.Errorf("a kubelet that %s: %q names neither it nor its last words", name, got)
		}
	}
}

func TestAFullDiskIsToldOfAnyError(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	t.Setenv(StateVariable, dir)
	died := launch.Event{Component: Etcd, Detail: "exit status 2"}
	if got := remedied(errorOf(died)).Error(); strings.Contains(got, StateVariable) {
		t.Errorf("of a disk with room: %s", got)
	}
	if err := unix.Mount("plumb-test", dir, "tmpfs", 0, "size=100k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	for _, word := range []string{"exit status 2", dir, "no space left on device", StateVariable} {
		if got := remedied(errorOf(died)).Error(); !strings.Contains(got, word) {
			t.Errorf("of a full disk it says %q, and nothing of %s", got, word)
		}
	}
}

// errorOf is an error that tells nothing of the kernel.
type errorOf launch.Event

func (e errorOf) Error() string { return e.Component + " ended: " + e.Detail }
