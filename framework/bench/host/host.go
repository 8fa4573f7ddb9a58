// Package host says which machine figures are from and how busy that was: a figure
// without them means nothing.
package host

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is the machine that figures are from.
type Host struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Memory    int64  `json:"memory"`
	Kernel    string `json:"kernel"`
	// LoadBefore and LoadAfter are the averages of one, five and fifteen minutes. What
	// else ran shows in the first; the second holds the measurement itself.
	LoadBefore [3]float64 `json:"loadBefore"`
	LoadAfter  [3]float64 `json:"loadAfter"`
}

// String is the machine and its load on one line.
func (h Host) String() string {
	return fmt.Sprintf("%s, load %.2f before and %.2f after", h.Machine(), h.LoadBefore[0], h.LoadAfter[0])
}

// Describe looks at this machine; LoadAfter is for when the measurement has ended.
func Describe() (Host, error) {
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
	if data, err = os.ReadFile("/proc/cpuinfo"); err != nil {
		return h, err
	}
	h.Processor = parseProcessor(string(data))
	h.LoadBefore, err = Load()
	return h, err
}

// Load is the averages of one, five and fifteen minutes.
func Load() ([3]float64, error) {
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

// parseProcessor finds the model's name in /proc/cpuinfo; not every architecture
// tells it.
func parseProcessor(text string) string {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "of unknown model"
}

// Alike says whether figures of two machines can be compared as they are: the same
// number of cores of the same model, and the same memory but for what a kernel keeps.
func (h Host) Alike(other Host) bool {
	return h.Processor == other.Processor && h.Cores == other.Cores && math.Abs(float64(h.Memory-other.Memory)) <= float64(h.Memory)/20
}

// Machine is what does not change from one measurement to the next, on one line.
func (h Host) Machine() string {
	return fmt.Sprintf("%d cores %s, %.1f GiB, Linux %s", h.Cores, h.Processor, float64(h.Memory)/(1<<30), h.Kernel)
}
