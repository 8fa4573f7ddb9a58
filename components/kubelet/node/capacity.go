package node

import (
	"bufio"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/plumbline/plumbline/components/kubelet/cgroup"
)

// Reservation is what pods cannot have of the node's resources.
type Reservation struct {
	// Kube and System are kept for the system's own processes.
	Kube, System v1.ResourceList
	// Eviction is what must stay free: see package eviction.
	Eviction v1.ResourceList
}

// Capacity is what the machine has: its cgroup's limits where it has any, else what
// the kernel shows.
func Capacity(h *cgroup.Hierarchy, rootDir string, maxPods int64) (v1.ResourceList, error) {
	memory, err := totalMemory()
	if err != nil {
		return nil, err
	}
	if limit, ok := h.MemoryLimit("/"); ok {
		memory = min(memory, limit)
	}
	milliCPU := int64(goruntime.NumCPU()) * 1000
	if limit, ok := h.CPULimit("/"); ok {
		milliCPU = min(milliCPU, limit)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(rootDir, &disk); err != nil {
		return nil, fmt.Errorf("measure the file system of %s: %w", rootDir, err)
	}
	out := v1.ResourceList{
		v1.ResourceCPU:              *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		v1.ResourceMemory:           *resource.NewQuantity(memory, resource.BinarySI),
		v1.ResourceEphemeralStorage: *resource.NewQuantity(int64(disk.Blocks)*disk.Bsize, resource.BinarySI),
		v1.ResourcePods:             *resource.NewQuantity(maxPods, resource.DecimalSI),
	}
	for _, size := range []string{"2Mi", "1Gi"} {
		if pages, ok := hugePages(size); ok {
			out[v1.ResourceName(v1.ResourceHugePagesPrefix+size)] = pages
		}
	}
	return out, nil
}

// Allocatable is what is left for pods.
func Allocatable(capacity v1.ResourceList, r Reservation) v1.ResourceList {
	out := capacity.DeepCopy()
	for _, reserved := range []v1.ResourceList{r.Kube, r.System, r.Eviction} {
		for name, quantity := range reserved {
			left, ok := out[name]
			if !ok {
				continue
			}
			left.Sub(quantity)
			if left.Sign() < 0 {
				left.Set(0)
			}
			out[name] = left
		}
	}
	return out
}

func totalMemory() (int64, error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 2 && words[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo: no MemTotal in it")
}

func hugePages(size string) (resource.Quantity, bool) {
	quantity := resource.MustParse(size)
	raw, err := os.ReadFile(fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB/nr_hugepages", quantity.Value()/1024))
	if err != nil {
		return resource.Quantity{}, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return resource.Quantity{}, false
	}
	return *resource.NewQuantity(n*quantity.Value(), resource.BinarySI), true
}
