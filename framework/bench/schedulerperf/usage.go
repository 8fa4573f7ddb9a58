package schedulerperf

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/framework/bench/measure"
	"github.com/plumbline/plumbline/framework/launch"
)

// usage is what a process has used so far.
type usage struct {
	cpu time.Duration
	// peak is the most memory that was resident at once, in bytes.
	peak int64
}

// usageOf reads a component's from its machine's /proc.
func usageOf(running *launch.Running) (usage, error) {
	pid := running.PID()
	if pid == 0 {
		return usage{}, fmt.Errorf("%s is not running: what it used is not known", running)
	}
	var files [2][]byte
	for i, name := range []string{"stat", "status"} {
		data, err := os.ReadFile(running.Component().Machine.HostPath(fmt.Sprintf("/proc/%d/%s", pid, name)))
		if err != nil {
			return usage{}, fmt.Errorf("%s: what it used is not known: %w", running, err)
		}
		files[i] = data
	}
	u, err := parseUsage(files[0], files[1])
	if err != nil {
		return u, fmt.Errorf("%s: %w", running, err)
	}
	return u, nil
}

// tick is the unit of processor time in /proc, on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// parseUsage reads /proc/PID/stat and /proc/PID/status.
func parseUsage(stat, status []byte) (usage, error) {
	var u usage
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system = 11, 12 // counted from the state, which follows the name
	if len(fields) <= system {
		return u, fmt.Errorf("/proc/PID/stat has %d fields after the name", len(fields))
	}
	for _, field := range []string{fields[user], fields[system]} {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		u.cpu += time.Duration(ticks) * tick
	}
	for line := range strings.Lines(string(status)) {
		if kilobytes, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kilobytes), "kB")), 10, 64)
			if err != nil {
				return u, fmt.Errorf("/proc/PID/status: VmHWM: %w", err)
			}
			u.peak = n << 10
		}
	}
	if u.peak == 0 {
		return u, fmt.Errorf("/proc/PID/status has no VmHWM")
	}
	return u, nil
}

// since is what a component used since before, while pods were bound.
func (u usage) since(before usage, component string, pods int) []measure.Metric {
	one := func(name, unit string, value float64) measure.Metric {
		return measure.Metric{
			Name: name, Labels: map[string]string{"component": component}, Unit: unit,
			Better: measure.Lower, Values: map[string]float64{measure.Value: value},
		}
	}
	spent := u.cpu - before.cpu
	metrics := []measure.Metric{one("CPUTime", "s", spent.Seconds())}
	if pods > 0 {
		metrics = append(metrics, one("CPUTimePerPod", "ms", 1000*spent.Seconds()/float64(pods)))
	}
	return append(metrics, one("PeakMemory", "MB", float64(u.peak)/1e6))
}
