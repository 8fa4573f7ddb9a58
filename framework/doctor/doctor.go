// Package doctor examines whether a host can run clusters: each precondition is
// tried out where it can be, and what fails comes with what to do about it.
package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/fabric"
	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/machine/cgroup"
	"github.com/plumbline/plumbline/framework/netns"
)

// Verdict is how one examination ended.
type Verdict string

// The verdicts.
const (
	// OK means that the precondition holds.
	OK Verdict = "ok"
	// Warning means that something that not everybody needs is missing.
	Warning Verdict = "warning"
	// Failed means that clusters cannot run.
	Failed Verdict = "failed"
)

// Finding is the result of one examination.
type Finding struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Detail says what was found.
	Detail string `json:"detail"`
	// Remedy says what to do; it is empty when all is well.
	Remedy string `json:"remedy,omitempty"`
}

type check struct {
	name    string
	run     func(context.Context) (detail string, err error)
	remedy  string
	verdict Verdict // of a failure
}

// Examine examines the host. The binary provides the init process of the machine
// that is started for a trial.
func Examine(ctx context.Context, binary string) []Finding {
	checks := []check{
		{"root", root, "run plumb as root: sudo plumb doctor", Failed},
		{"control groups", controlGroups, "mount the control groups at /sys/fs/cgroup (systemd does; in a container, run it privileged), with the controllers cpu, memory and pids", Failed},
		{"network", network, "load the kernel modules veth and bridge (modprobe veth bridge), or use a kernel that has them", Failed},
		{"packet filter", packetFilter, "load the kernel modules nf_tables and nf_conntrack (modprobe nf_tables nf_conntrack), or use a kernel that has them", Failed},
		{"overlay file system", overlay, "load the kernel module overlay (modprobe overlay), or use a kernel that has it", Failed},
		{"machine", trialMachine(binary), "clusters need to make namespaces of every kind and to mount in them: in a container, run it privileged (docker run --privileged)", Failed},
		{"inotify", inotify, fmt.Sprintf("sysctl fs.inotify.max_user_instances=%d (plumb up raises it by itself where it may)", wantedInstances), Warning},
		{"disk", disk, "free some space, or move the cache and the state with PLUMB_CACHE and " + cluster.StateVariable, Failed},
		{"memory", memory, "a cluster of two nodes needs about 1 GiB: close something, or use a larger machine", Warning},
		{"build tools", buildTools, "apt-get install gcc git make pkg-config, and Go from https://go.dev/dl/: they build what clusters run, once", Warning},
		{"disk limits", diskLimits, "apt-get install e2fsprogs, and load the kernel module loop: only nodes with a bounded disk need it", Warning},
		{"leftovers", leftovers, "plumb down sweeps them, and so does the next plumb up", Warning},
	}
	findings := make([]Finding, 0, len(checks))
	for _, c := range checks {
		finding := Finding{Name: c.name, Verdict: OK}
		detail, err := c.run(ctx)
		finding.Detail = detail
		if err != nil {
			finding.Verdict, finding.Detail, finding.Remedy = c.verdict, err.Error(), c.remedy
		}
		findings = append(findings, finding)
	}
	return findings
}

func root(context.Context) (string, error) {
	if uid := os.Getuid(); uid != 0 {
		return "", fmt.Errorf("running as user %d", uid)
	}
	return "running as root", nil
}

func controlGroups(context.Context) (string, error) {
	hierarchies, err := cgroup.Mounted()
	if err != nil {
		return "", err
	}
	var found []string
	version := "version 2"
	for _, h := range hierarchies {
		if !h.Unified {
			version = "version 1"
			found = append(found, strings.Split(h.Options, ",")...)
			continue
		}
		data, err := os.ReadFile(filepath.Join(h.Mount, "cgroup.controllers"))
		if err == nil {
			found = append(found, strings.Fields(string(data))...)
		}
	}
	for _, needed := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(found, needed) {
			return "", fmt.Errorf("no controller %q; found %v", needed, found)
		}
	}
	const trial = "plumb-doctor"
	group, err := cgroup.Create(trial, cgroup.Limits{Memory: 64 << 20, PIDs: 64, MilliCPU: 1000})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %s", version, strings.Join(found, " ")), group.Remove()
}

func trialFabric() (*fabric.Fabric, error) {
	return fabric.New(netip.MustParsePrefix("10.77.0.0/16"))
}

func network(ctx context.Context) (_ string, err error) {
	f, err := trialFabric()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	client, err := f.NewClient("doctor", netip.MustParseAddr("10.77.0.2"))
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := f.DialContext(ctx, "tcp", "10.77.0.2:1"); !errors.Is(err, unix.ECONNREFUSED) {
		return "", fmt.Errorf("two namespaces joined by a bridge do not hear each other: %w", err)
	}
	return "network namespaces, veth, bridge", nil
}

func packetFilter(context.Context) (string, error) {
	ns, err := netns.New()
	if err != nil {
		return "", err
	}
	defer ns.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(ns.FD()))
	if err != nil {
		return "", err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "doctor"})
	conn.AddChain(&nftables.Chain{Name: "nat", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	if err := conn.Flush(); err != nil {
		return "", fmt.Errorf("nftables: %w", err)
	}
	return "nftables with address translation", nil
}

func overlay(context.Context) (string, error) {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return "", err
	}
	if !slices.Contains(strings.Fields(string(data)), "overlay") {
		return "", errors.New("the kernel has no overlay file system, or has not loaded it")
	}
	return "the kernel has it", nil
}

func trialMachine(binary string) func(context.Context) (string, error) {
	return func(ctx context.Context) (_ string, err error) {
		dir, err := os.MkdirTemp(parentOf(cluster.StateRoot()), ".plumb-doctor-")
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		begun := time.Now()
		m, err := machine.Start(ctx, machine.Config{Name: "doctor", Directory: dir, Program: binary, Cgroup: "plumb-doctor"})
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, m.Stop()) }()
		return fmt.Sprintf("started one in %s", time.Since(begun).Round(time.Millisecond)), nil
	}
}

// parentOf is the closest directory above a path that exists.
func parentOf(path string) string {
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() || path == "/" {
			return path
		}
		path = filepath.Dir(path)
	}
}

const wantedInstances = 8192

func inotify(context.Context) (string, error) {
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	if err != nil {
		return "", err
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return "", err
	}
	if now < wantedInstances {
		return "", fmt.Errorf("%d watches of files per user; a few nodes use more", now)
	}
	return fmt.Sprintf("%d instances", now), nil
}

func disk(context.Context) (string, error) {
	const needed = 5 << 30
	places := []string{parentOf(cluster.StateRoot())}
	if store, err := cache.Default(); err == nil {
		places = append(places, parentOf(store.Dir))
	}
	var found []string
	for _, place := range places {
		var stat unix.Statfs_t
		if err := unix.Statfs(place, &stat); err != nil {
			return "", fmt.Errorf("%s: %w", place, err)
		}
		free := stat.Bavail * uint64(stat.Bsize)
		if free < needed {
			return "", fmt.Errorf("%s has %d MiB free, clusters and their images need %d", place, free>>20, uint64(needed)>>20)
		}
		found = append(found, fmt.Sprintf("%d GiB free at %s", free>>30, place))
	}
	return strings.Join(slices.Compact(found), ", "), nil
}

func memory(context.Context) (string, error) {
	const needed = 1 << 20 // in KiB
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var available int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &available); n == 1 {
			if available < needed {
				return "", fmt.Errorf("%d MiB available", available>>10)
			}
			return fmt.Sprintf("%d MiB available", available>>10), nil
		}
	}
	return "", errors.New("/proc/meminfo does not tell what is available")
}

func buildTools(context.Context) (string, error) {
	var missing []string
	tools := []string{"go", "gcc", "git", "make", "pkg-config"}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("not found: %s", strings.Join(missing, ", "))
	}
	return strings.Join(tools, ", "), nil
}

func diskLimits(context.Context) (string, error) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return "", err
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "", err
	}
	return "mkfs.ext4 and loop devices", nil
}

func leftovers(context.Context) (string, error) {
	stale, err := cluster.Stale()
	if err != nil {
		return "", err
	}
	if len(stale) > 0 {
		return "", fmt.Errorf("clusters whose owner was killed left files: %s", strings.Join(stale, ", "))
	}
	return "none", nil
}
