package cgroup

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// unlimited is what v1's memory controller shows where there is no limit: the
// largest multiple of the page size.
const unlimited = math.MaxInt64 / 4096 * 4096

// Limits is what a group may use. Zero leaves a value as it is.
type Limits struct {
	CPUShares uint64
	// CPUQuota is in microseconds a period; -1 is none.
	CPUQuota, CPUPeriod int64
	// Memory is in bytes; -1 is unlimited.
	Memory int64
	// PIDs is a number of tasks; -1 is unlimited.
	PIDs int64
}

// Or are limits within which both l and other are allowed.
func (l Limits) Or(other Limits) Limits {
	wider := func(a, b int64) int64 {
		if a < 0 || b < 0 {
			return -1
		}
		return max(a, b)
	}
	return Limits{
		CPUShares: max(l.CPUShares, other.CPUShares),
		CPUQuota:  wider(l.CPUQuota, other.CPUQuota), CPUPeriod: other.CPUPeriod,
		Memory: wider(l.Memory, other.Memory), PIDs: wider(l.PIDs, other.PIDs),
	}
}

// Apply sets limits of a group.
func (h *Hierarchy) Apply(group string, l Limits) error {
	if h.Unified {
		return h.applyUnified(group, l)
	}
	var errs []error
	set := func(controller, file string, value int64) {
		dir := h.Path(controller, group)
		if dir == "" {
			return
		}
		err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(value, 10)), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if l.CPUShares != 0 {
		set("cpu", "cpu.shares", int64(l.CPUShares))
	}
	if l.CPUPeriod != 0 && l.CPUQuota != 0 {
		set("cpu", "cpu.cfs_period_us", l.CPUPeriod)
		set("cpu", "cpu.cfs_quota_us", l.CPUQuota)
	}
	if l.Memory != 0 {
		set("memory", "memory.limit_in_bytes", l.Memory)
	}
	if l.PIDs > 0 {
		set("pids", "pids.max", l.PIDs)
	}
	return errors.Join(errs...)
}

func (h *Hierarchy) applyUnified(group string, l Limits) error {
	dir := h.Path("", group)
	var errs []error
	set := func(file, value string) {
		err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	amount := func(n int64) string {
		if n < 0 {
			return "max"
		}
		return strconv.FormatInt(n, 10)
	}
	if l.CPUShares != 0 {
		set("cpu.weight", strconv.FormatUint(weight(l.CPUShares), 10))
	}
	if l.CPUPeriod != 0 && l.CPUQuota != 0 {
		set("cpu.max", amount(l.CPUQuota)+" "+strconv.FormatInt(l.CPUPeriod, 10))
	}
	if l.Memory != 0 {
		set("memory.max", amount(l.Memory))
	}
	if l.PIDs != 0 {
		set("pids.max", amount(l.PIDs))
	}
	return errors.Join(errs...)
}

// weight maps v1 shares, 2 to 262144, to v2 weights, 1 to 10000, such that the
// default 1024 becomes the default 100 (the mapping of runc 1.3 and crun 1.23).
func weight(shares uint64) uint64 {
	if shares <= 2 {
		return 1
	}
	if shares >= 262144 {
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// MemoryLimit is the memory limit of a group; ok is false where there is none.
func (h *Hierarchy) MemoryLimit(group string) (bytes int64, ok bool) {
	file := "memory.limit_in_bytes"
	if h.Unified {
		file = "memory.max"
	}
	n, ok := h.Number("memory", group, file)
	return n, ok && n < unlimited
}

// MemoryUsage is the memory that a group uses, caches included.
func (h *Hierarchy) MemoryUsage(group string) (bytes int64, ok bool) {
	file := "memory.usage_in_bytes"
	if h.Unified {
		file = "memory.current"
	}
	return h.Number("memory", group, file)
}

// PIDLimit is the limit of tasks of a group; ok is false where there is none.
func (h *Hierarchy) PIDLimit(group string) (tasks int64, ok bool) {
	return h.Number("pids", group, "pids.max")
}

// CPULimit is the CPU limit of a group in thousandths of a CPU; ok is false where there is none.
func (h *Hierarchy) CPULimit(group string) (milli int64, ok bool) {
	var quota, period int64
	if h.Unified {
		raw, err := os.ReadFile(filepath.Join(h.Path("", group), "cpu.max"))
		if err != nil {
			return 0, false
		}
		words := strings.Fields(string(raw))
		if len(words) != 2 || words[0] == "max" {
			return 0, false
		}
		quota, _ = strconv.ParseInt(words[0], 10, 64)
		period, _ = strconv.ParseInt(words[1], 10, 64)
	} else {
		quota, _ = h.Number("cpu", group, "cpu.cfs_quota_us")
		period, _ = h.Number("cpu", group, "cpu.cfs_period_us")
	}
	if quota <= 0 || period <= 0 {
		return 0, false
	}
	return quota * 1000 / period, true
}

// Number reads a file of a group that holds one number; ok is false for "max" and
// where there is no such file.
func (h *Hierarchy) Number(controller, group, file string) (n int64, ok bool) {
	dir := h.Path(controller, group)
	if dir == "" {
		return 0, false
	}
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	return n, err == nil
}
