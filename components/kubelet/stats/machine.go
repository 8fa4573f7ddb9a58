// Package stats measures what a node and its pods use: the machine's own control
// groups and file systems for the node, the container runtime and the pods' folders for
// the pods. The figures are those of the kubelet's Summary API
// (https://kubernetes.io/docs/reference/instrumentation/node-metrics/).
package stats

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Machine is where the kernel tells of the machine the kubelet runs on. The zero value
// is that of an ordinary machine, or of namespaces that look like one.
type Machine struct {
	// CgroupRoot is where the control groups are mounted; default /sys/fs/cgroup.
	CgroupRoot string
	// ProcRoot is where the processes are; default /proc.
	ProcRoot string
}

func (m Machine) cgroups() string {
	if m.CgroupRoot == "" {
		return "/sys/fs/cgroup"
	}
	return m.CgroupRoot
}

func (m Machine) proc(elements ...string) string {
	root := m.ProcRoot
	if root == "" {
		root = "/proc"
	}
	return filepath.Join(append([]string{root}, elements...)...)
}

// unified is true where the controllers are on cgroup v2.
func (m Machine) unified() bool {
	_, err := os.Stat(filepath.Join(m.cgroups(), "cgroup.controllers"))
	return err == nil
}

// MemoryCapacity is the most memory the machine may use, in bytes.
func (m Machine) MemoryCapacity() (uint64, error) {
	total, err := m.totalMemory()
	if err != nil {
		return 0, err
	}
	file := filepath.Join(m.cgroups(), "memory", "memory.limit_in_bytes")
	if m.unified() {
		file = filepath.Join(m.cgroups(), "memory.max")
	}
	// The root group of a whole machine has no limit, and on v2 no file either.
	if limit, err := readNumber(file); err == nil && limit < total {
		return limit, nil
	}
	return total, nil
}

func (m Machine) totalMemory() (uint64, error) {
	fields, err := m.memoryInfo()
	if err != nil {
		return 0, err
	}
	return fields["MemTotal"], nil
}

// memoryInfo is /proc/meminfo, in bytes.
func (m Machine) memoryInfo() (map[string]uint64, error) {
	file, err := os.Open(m.proc("meminfo"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	values := map[string]uint64{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		number, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err == nil {
			values[name] = number << 10
		}
	}
	return values, nil
}

// Memory is the machine's memory. Available is what is left of the capacity beside the
// working set, which is all usage but file pages that the kernel would give up first.
func (m Machine) Memory() (*statsapi.MemoryStats, error) {
	capacity, err := m.MemoryCapacity()
	if err != nil {
		return nil, err
	}
	now := metav1.NewTime(time.Now())
	dir, usageFile, inactive, resident := filepath.Join(m.cgroups(), "memory"), "memory.usage_in_bytes", "total_inactive_file", "total_rss"
	if m.unified() {
		dir, usageFile, inactive, resident = m.cgroups(), "memory.current", "inactive_file", "anon"
	}
	usage, err := readNumber(filepath.Join(dir, usageFile))
	if err != nil {
		return m.memoryWithoutGroups(capacity, now)
	}
	stat, err := readTable(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return nil, err
	}
	working := usage - min(usage, stat[inactive])
	available := capacity - min(capacity, working)
	rss, faults, major := stat[resident], stat["pgfault"], stat["pgmajfault"]
	return &statsapi.MemoryStats{
		Time: now, AvailableBytes: &available, UsageBytes: &usage, WorkingSetBytes: &working,
		RSSBytes: &rss, PageFaults: &faults, MajorPageFaults: &major,
	}, nil
}

// memoryWithoutGroups serves a whole machine on cgroup v2, whose root group counts nothing.
func (m Machine) memoryWithoutGroups(capacity uint64, now metav1.Time) (*statsapi.MemoryStats, error) {
	info, err := m.memoryInfo()
	if err != nil {
		return nil, err
	}
	available := info["MemAvailable"]
	usage := capacity - min(capacity, info["MemFree"])
	working := capacity - min(capacity, available)
	return &statsapi.MemoryStats{Time: now, AvailableBytes: &available, UsageBytes: &usage, WorkingSetBytes: &working}, nil
}

// cpuTime is the processor time the machine has used, in nanoseconds.
func (m Machine) cpuTime() (uint64, error) {
	if !m.unified() {
		return readNumber(filepath.Join(m.cgroups(), "cpuacct", "cpuacct.usage"))
	}
	stat, err := readTable(filepath.Join(m.cgroups(), "cpu.stat"))
	return stat["usage_usec"] * 1000, err
}

// Processes are the tasks that run and the most there may be.
func (m Machine) Processes() (*statsapi.RlimitStats, error) {
	dir := m.cgroups()
	if !m.unified() {
		dir = filepath.Join(dir, "pids")
	}
	most, err := readNumber(m.proc("sys", "kernel", "pid_max"))
	if err != nil {
		return nil, err
	}
	if limit, err := readNumber(filepath.Join(dir, "pids.max")); err == nil {
		most = min(most, limit)
	}
	running, err := readNumber(filepath.Join(dir, "pids.current"))
	if err != nil {
		if running, err = m.countTasks(); err != nil {
			return nil, err
		}
	}
	limit, current := int64(most), int64(running)
	return &statsapi.RlimitStats{Time: metav1.NewTime(time.Now()), MaxPID: &limit, NumOfRunningProcesses: &current}, nil
}

// countTasks reads the second number of the fourth field of loadavg: "running/all".
func (m Machine) countTasks() (uint64, error) {
	data, err := os.ReadFile(m.proc("loadavg"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 4 {
		return 0, fmt.Errorf("%s: %q has fewer than four fields", m.proc("loadavg"), data)
	}
	_, all, _ := strings.Cut(fields[3], "/")
	return strconv.ParseUint(all, 10, 64)
}

// Network counts the bytes of the machine's interfaces; the first that is not the
// loopback is the default one.
func (m Machine) Network() (*statsapi.NetworkStats, error) {
	file, err := os.Open(m.proc("net", "dev"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	network := &statsapi.NetworkStats{Time: metav1.NewTime(time.Now())}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, rest, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		fields := strings.Fields(rest)
		if !ok || name == "lo" || len(fields) < 11 {
			continue
		}
		number := func(i int) *uint64 {
			n, _ := strconv.ParseUint(fields[i], 10, 64)
			return &n
		}
		network.Interfaces = append(network.Interfaces, statsapi.InterfaceStats{
			Name: name, RxBytes: number(0), RxErrors: number(2), TxBytes: number(8), TxErrors: number(10),
		})
	}
	if len(network.Interfaces) > 0 {
		network.InterfaceStats = network.Interfaces[0]
	}
	return network, nil
}

// Filesystem measures the file system that path is on.
func Filesystem(path string) (*statsapi.FsStats, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	size := uint64(stat.Bsize)
	available, capacity := stat.Bavail*size, stat.Blocks*size
	used := (stat.Blocks - stat.Bfree) * size
	inodes, free := stat.Files, stat.Ffree
	inodesUsed := inodes - min(inodes, free)
	return &statsapi.FsStats{
		Time: metav1.NewTime(time.Now()), AvailableBytes: &available, CapacityBytes: &capacity, UsedBytes: &used,
		Inodes: &inodes, InodesFree: &free, InodesUsed: &inodesUsed,
	}, nil
}

// readNumber reads a file that holds one number; "max" is the largest there is.
func readNumber(path string) (uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(data))
	if text == "max" {
		return math.MaxUint64, nil
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return number, nil
}

// readTable reads a file of lines "name number".
func readTable(path string) (map[string]uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	table := map[string]uint64{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if number, err := strconv.ParseUint(value, 10, 64); err == nil {
			table[name] = number
		}
	}
	return table, nil
}
