package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is the machine that figures are from.
type Host struct {
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory"`
	Kernel string `json:"kernel"`
	// LoadBefore and LoadAfter are the averages of one, five and fifteen minutes. What
	// else ran shows in the first; the second holds the measurement itself.
	LoadBefore [3]float64 `json:"loadBefore"`
	LoadAfter  [3]float64 `json:"loadAfter"`
}

// String is the machine on one line.
func (h Host) String() string {
	return fmt.Sprintf("%d cores, %.1f GiB, Linux %s, load %.2f before and %.2f after",
		h.Cores, float64(h.Memory)/(1<<30), h.Kernel, h.LoadBefore[0], h.LoadAfter[0])
}

func describeHost() (Host, error) {
	h := Host{Cores: runtime.NumCPU()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return h, fmt.Errorf("uname: %w", err)
	}
	h.Kernel = unix.ByteSliceToString(name.Release[:])
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return h, err
	}
	if h.Memory, err = parseMemory(string(data)); err != nil {
		return h, err
	}
	h.LoadBefore, err = load()
	return h, err
}

func load() ([3]float64, error) {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return [3]float64{}, err
	}
	return parseLoad(string(data))
}

func parseLoad(text string) (averages [3]float64, err error) {
	if _, err := fmt.Sscan(text, &averages[0], &averages[1], &averages[2]); err != nil {
		return averages, fmt.Errorf("/proc/loadavg: %w", err)
	}
	return averages, nil
}

// parseMemory finds how much memory there is in /proc/meminfo.
func parseMemory(text string) (int64, error) {
	for line := range strings.Lines(text) {
		var kibibytes int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kibibytes); err == nil {
			return kibibytes << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no line MemTotal")
}
