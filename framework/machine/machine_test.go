package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/fabric"
	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

func TestMain(m *testing.M) {
	RunIfInit()
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("machines need root")
	}
}

func startMachine(t *testing.T, change func(*Config)) *Machine {
	t.Helper()
	needRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	config := Config{
		Name: "m1", Directory: filepath.Join(t.TempDir(), "m1"), Cgroup: "plumb-test/" + t.Name(),
		Hosts: "127.0.0.1 localhost\n", Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
	}
	if change != nil {
		change(&config)
	}
	m, err := Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		if err := cgroup.Remove("plumb-test"); err != nil {
			t.Log(err)
		}
	})
	return m
}

// output runs a shell script in the machine and returns what it printed.
func output(t *testing.T, m *Machine, script string) (string, Exit) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	process, err := m.Run(t.Context(), Command{Args: []string{"sh", "-c", script}, Stdout: write, Stderr: write})
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := process.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data)), exit
}

func TestMachineHasItsOwnInside(t *testing.T) {
	m := startMachine(t, nil)
	for script, want := range map[string]string{
		"hostname":                           "m1",
		"cat /etc/hostname":                  "m1",
		"cat /proc/sys/net/ipv4/ip_forward":  "1",
		"ls /var/lib /run/containerd":        "/run/containerd:\n\n/var/lib:",
		"tr -d '\\0' < /proc/1/cmdline":      "plumb-init",
		"ls /sys/class/net":                  "lo",
		"readlink /proc/1/ns/mnt | cut -c-3": "mnt",
		"sed 's/.*://' /proc/self/cgroup | grep -v -e '^/$' -e '^/system$'; true": "",
		"touch /etc/x /opt/y /tmp/z && ls /tmp":                                   "z",
	} {
		if got, exit := output(t, m, script); got != want || exit.Code != 0 {
			t.Errorf("%s: got %q (%s), want %q", script, got, exit, want)
		}
	}
	if _, err := os.Stat("/etc/x"); err == nil {
		t.Error("a file made in the machine's /etc is on the host")
	}
}

// TestMachineHoldsNoOutput sees to it that whoever waits for the end of this process's
// output does not wait for the machine.
func TestMachineHoldsNoOutput(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = write, write
	m := startMachine(t, nil)
	os.Stdout, os.Stderr = stdout, stderr
	own, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", write.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", m.PID()))
	if err != nil || len(files) == 0 {
		t.Fatalf("the init process has %d open files, %v", len(files), err)
	}
	for _, file := range files {
		if link, _ := os.Readlink(file); link == own {
			t.Errorf("%s is this process's output", file)
		}
	}
}

// TestFurnishingFailsWithTheKernelsError sees to it that whoever starts a machine can tell why
// the kernel refused it.
func TestFurnishingFailsWithTheKernelsError(t *testing.T) {
	needRoot(t)
	config := Config{
		Name: "m1", Directory: filepath.Join(t.TempDir(), "m1"), Cgroup: "plumb-test/" + t.Name(),
		Binds: []Bind{{Source: "/no/such/directory", Target: "/run/there"}},
	}
	m, err := Start(t.Context(), config)
	if err == nil {
		t.Fatal(errors.Join(errors.New("a machine started with a bind of nothing"), m.Stop()))
	}
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/no/such/directory") {
		t.Errorf("got %v, want that there is no such directory", err)
	}
	if err := cgroup.Remove("plumb-test"); err != nil {
		t.Error(err)
	}
}

func TestProcessExitIsReported(t *testing.T) {
	m := startMachine(t, nil)
	if _, exit := output(t, m, "exit 3"); exit.Code != 3 {
		t.Errorf("got %s, want exit status 3", exit)
	}
	process, err := m.Run(t.Context(), Command{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if usage, err := process.Usage(t.Context()); err != nil || usage.Resident == 0 {
		t.Errorf("usage: %+v %v", usage, err)
	}
	if err := process.Signal(t.Context(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit, err := process.Wait(t.Context()); err != nil || exit.Signal != int(unix.SIGKILL) {
		t.Errorf("got %s %v, want killed by signal 9", exit, err)
	}
	if _, err := m.Run(t.Context(), Command{Args: []string{"no-such-program"}}); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestLimitsAreTheMachines(t *testing.T) {
	m := startMachine(t, func(c *Config) {
		c.Limits = Limits{Limits: cgroup.Limits{Memory: 256 << 20, PIDs: 300, MilliCPU: 500}, Disk: 64 << 20}
	})
	got, _ := output(t, m, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true")
	if got != "" && got != "268435456" {
		t.Errorf("memory limit seen inside: %s", got)
	}
	if got, _ := output(t, m, "df -B1M --output=size /var/lib | tail -1"); got == "" || len(strings.TrimSpace(got)) > 2 {
		t.Errorf("size of /var/lib: %s MiB, want at most 64", got)
	}
}

func TestStopEndsProcesses(t *testing.T) {
	m := startMachine(t, nil)
	process, err := m.Run(t.Context(), Command{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	if exit, err := process.Wait(t.Context()); err != nil || !exit.Lost {
		t.Errorf("got %+v %v, want lost", exit, err)
	}
	if _, err := m.Run(t.Context(), Command{Args: []string{"true"}}); err == nil {
		t.Error("a stopped machine started a process")
	}
}

func TestMachinesTalkOnAFabric(t *testing.T) {
	m := startMachine(t, nil)
	f, err := fabric.New(netip.MustParsePrefix("10.77.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	port, err := f.Attach(fabric.Attachment{Name: "m1", Namespace: m.Net(), Address: netip.MustParseAddr("10.77.0.10")})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := m.Net().Listen(t.Context(), "tcp", "10.77.0.10:80")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, conn.RemoteAddr().String())
			conn.Close()
		}
	}()
	client, err := f.NewClient("outside", netip.MustParseAddr("10.77.254.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	greet := func(dial fabric.Dialer) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		conn, err := dial(ctx, "tcp", "10.77.0.10:80")
		if err != nil {
			return "", err
		}
		defer conn.Close()
		data, err := io.ReadAll(conn)
		return string(data), err
	}
	if got, err := greet(client.DialContext); err != nil || !strings.HasPrefix(got, "10.77.254.1:") {
		t.Errorf("from outside: %q %v", got, err)
	}
	if got, err := greet(f.DialContext); err != nil || !strings.HasPrefix(got, "10.77.0.1:") {
		t.Errorf("from the switch: %q %v", got, err)
	}
	if err := port.SetConnected(false); err != nil {
		t.Fatal(err)
	}
	if got, err := greet(f.DialContext); err == nil {
		t.Errorf("a partitioned machine answered %q", got)
	}
}
