package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/framework/expect"
)

// hostTraces are what clusters could leave on the host outside of their directories: links
// in its network, mounts of namespaces and of the clusters' files.
func hostTraces(t *testing.T, state string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		found["link "+link.Name()] = true
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, state) || strings.Contains(line, " - nsfs ") {
			found["mount "+line] = true
		}
	}
	return found
}

// clusterTraces are a cluster's processes, its supervisor among them, and its control groups.
func clusterTraces(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		groups, _ := os.ReadFile(filepath.Join(process, "cgroup")) // gone meanwhile is gone
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		words := strings.Join(strings.Split(string(command), "\x00"), " ")
		if strings.Contains(string(groups), "/plumb/"+name+"-") || strings.HasPrefix(words, "plumb supervise --name "+name+" ") {
			found = append(found, "process "+filepath.Base(process)+": "+words)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/plumb/%s-*", "/sys/fs/cgroup/plumb/%s-*"} {
		groups, err := filepath.Glob(fmt.Sprintf(pattern, name))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, groups...)
	}
	return found
}

// TestUpAndDownLeaveNothing boots a cluster with a node by the command line and takes it
// down, PLUMB_TEST_CYCLES times or three, and looks for what is left of it each time.
func TestUpAndDownLeaveNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("clusters need root")
	}
	count := 3
	if text := os.Getenv("PLUMB_TEST_CYCLES"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatalf("PLUMB_TEST_CYCLES: %v", err)
		}
	}
	plumb := plumbProgram(t)
	state := filepath.Join(t.TempDir(), "state")
	name := fmt.Sprintf("cycle-%d", os.Getpid())
	before := hostTraces(t, state)
	run := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), plumb, args...)
		cmd.Env = append(os.Environ(), "PLUMB_STATE="+state)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	for cycle := range count {
		run("up", "--name", name, "--nodes", "1")
		if lives := clusterTraces(t, name); len(lives) < 11 { // its supervisor, two machines, their components and control groups
			t.Errorf("cycle %d: the cluster shows itself only by\n  %s", cycle, strings.Join(lives, "\n  "))
		}
		run("down", "--name", name)
		left := clusterTraces(t, name)
		// The supervisor answers before it ends, and nothing tells of a process's end that is not one's own.
		for deadline := time.Now().Add(expect.Scaled(5 * time.Second)); len(left) > 0 && time.Now().Before(deadline); left = clusterTraces(t, name) {
			time.Sleep(10 * time.Millisecond)
		}
		for trace := range maps.Keys(hostTraces(t, state)) {
			if !before[trace] {
				left = append(left, trace)
			}
		}
		if len(left) > 0 {
			slices.Sort(left)
			t.Errorf("cycle %d left\n  %s", cycle, strings.Join(left, "\n  "))
		}
		nothingLeft(t, state)
	}
}
