// Package eviction ends pods before their node runs out of memory, disk, inodes or
// process numbers, in the order that
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
// promises, and says under which pressure the node is.
package eviction

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Signal is what a threshold is about.
type Signal string

// The signals of the Kubernetes documentation.
const (
	MemoryAvailable      Signal = "memory.available"
	NodeFsAvailable      Signal = "nodefs.available"
	NodeFsInodesFree     Signal = "nodefs.inodesFree"
	ImageFsAvailable     Signal = "imagefs.available"
	ImageFsInodesFree    Signal = "imagefs.inodesFree"
	ContainerFsAvailable Signal = "containerfs.available"
	ContainerFsInodes    Signal = "containerfs.inodesFree"
	PIDAvailable         Signal = "pid.available"
)

// condition is the node condition that a signal leads to.
func (s Signal) condition() corev1.NodeConditionType {
	switch s {
	case MemoryAvailable:
		return corev1.NodeMemoryPressure
	case PIDAvailable:
		return corev1.NodePIDPressure
	}
	return corev1.NodeDiskPressure
}

// starved names what runs short, as messages do.
func (s Signal) starved() string {
	switch s {
	case MemoryAvailable:
		return "memory"
	case PIDAvailable:
		return "pids"
	case NodeFsInodesFree, ImageFsInodesFree, ContainerFsInodes:
		return "inodes"
	}
	return "ephemeral-storage"
}

// known lists the signals in the order in which they are dealt with: memory first,
// since a node that is out of it cannot do anything else.
func known() []Signal {
	return []Signal{
		MemoryAvailable, NodeFsAvailable, NodeFsInodesFree, ImageFsAvailable, ImageFsInodesFree,
		ContainerFsAvailable, ContainerFsInodes, PIDAvailable,
	}
}

// Limit is a quantity or a share of the capacity.
type Limit struct {
	Quantity resource.Quantity
	// Share is from 0 to 1; it counts if Quantity is zero.
	Share float64
}

func (l Limit) of(capacity int64) *resource.Quantity {
	if l.Share > 0 {
		return resource.NewQuantity(int64(l.Share*float64(capacity)), resource.BinarySI)
	}
	quantity := l.Quantity.DeepCopy()
	return &quantity
}

// Threshold is one line of a KubeletConfiguration's eviction settings.
type Threshold struct {
	Signal Signal
	Limit  Limit
	// Grace is how long a soft threshold must be crossed; 0 for hard ones.
	Grace time.Duration
	Soft  bool
	// Reclaim is how much more than the limit is to be free before pressure ends.
	Reclaim Limit
}

// Settings are the eviction fields of a KubeletConfiguration.
type Settings struct {
	Hard, Soft, SoftGrace, MinimumReclaim map[string]string
}

// Thresholds reads settings; errors name the field.
func (s Settings) Thresholds() ([]Threshold, error) {
	var all []Threshold
	reclaim := map[Signal]Limit{}
	for name, text := range s.MinimumReclaim {
		limit, err := parseLimit("evictionMinimumReclaim", name, text)
		if err != nil {
			return nil, err
		}
		reclaim[Signal(name)] = limit
	}
	for name, text := range s.Hard {
		limit, err := parseLimit("evictionHard", name, text)
		if err != nil {
			return nil, err
		}
		all = append(all, Threshold{Signal: Signal(name), Limit: limit, Reclaim: reclaim[Signal(name)]})
	}
	for name, text := range s.Soft {
		limit, err := parseLimit("evictionSoft", name, text)
		if err != nil {
			return nil, err
		}
		period, ok := s.SoftGrace[name]
		if !ok {
			return nil, fmt.Errorf("evictionSoftGracePeriod[%s]: Required value: every soft threshold needs a grace period", name)
		}
		grace, err := time.ParseDuration(period)
		if err != nil || grace < 0 {
			return nil, fmt.Errorf("evictionSoftGracePeriod[%s]: Invalid value: %q: must be a duration that is not negative, such as 90s", name, period)
		}
		all = append(all, Threshold{Signal: Signal(name), Limit: limit, Grace: grace, Soft: true, Reclaim: reclaim[Signal(name)]})
	}
	for _, name := range slices.Sorted(maps.Keys(s.SoftGrace)) {
		if _, ok := s.Soft[name]; !ok {
			return nil, fmt.Errorf("evictionSoftGracePeriod[%s]: Invalid value: there is no such soft threshold", name)
		}
	}
	order := known()
	slices.SortFunc(all, func(a, b Threshold) int {
		// A signal's hard threshold has no grace period, so it comes before the soft one.
		return cmp.Or(cmp.Compare(slices.Index(order, a.Signal), slices.Index(order, b.Signal)), cmp.Compare(a.Grace, b.Grace))
	})
	return all, nil
}

func parseLimit(field, name, text string) (Limit, error) {
	if !slices.Contains(known(), Signal(name)) {
		return Limit{}, fmt.Errorf("%s[%s]: Unsupported value: %q: supported values: %q", field, name, name, known())
	}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		share, err := strconv.ParseFloat(percent, 64)
		if err != nil || math.IsNaN(share) || share < 0 || share > 100 {
			return Limit{}, fmt.Errorf("%s[%s]: Invalid value: %q: must be from 0%% to 100%%", field, name, text)
		}
		return Limit{Share: share / 100}, nil
	}
	quantity, err := resource.ParseQuantity(text)
	if err != nil || quantity.Sign() < 0 {
		return Limit{}, fmt.Errorf("%s[%s]: Invalid value: %q: must be a quantity that is not negative, such as 100Mi, or a percentage", field, name, text)
	}
	return Limit{Quantity: quantity}, nil
}

// observation is a signal's present value.
type observation struct{ available, capacity int64 }

// observe reads the signals from a node's figures.
func observe(node *statsapi.NodeStats) map[Signal]observation {
	seen := map[Signal]observation{}
	if m := node.Memory; m != nil && m.AvailableBytes != nil && m.WorkingSetBytes != nil {
		seen[MemoryAvailable] = observation{int64(*m.AvailableBytes), int64(*m.AvailableBytes + *m.WorkingSetBytes)}
	}
	disk := func(fs *statsapi.FsStats, space, inodes Signal) {
		if fs == nil {
			return
		}
		if fs.AvailableBytes != nil && fs.CapacityBytes != nil {
			seen[space] = observation{int64(*fs.AvailableBytes), int64(*fs.CapacityBytes)}
		}
		// Some file systems do not count inodes.
		if fs.InodesFree != nil && fs.Inodes != nil && *fs.Inodes > 0 {
			seen[inodes] = observation{int64(*fs.InodesFree), int64(*fs.Inodes)}
		}
	}
	disk(node.Fs, NodeFsAvailable, NodeFsInodesFree)
	if node.Runtime != nil {
		disk(node.Runtime.ImageFs, ImageFsAvailable, ImageFsInodesFree)
		disk(node.Runtime.ContainerFs, ContainerFsAvailable, ContainerFsInodes)
	}
	if r := node.Rlimit; r != nil && r.MaxPID != nil && r.NumOfRunningProcesses != nil {
		seen[PIDAvailable] = observation{*r.MaxPID - *r.NumOfRunningProcesses, *r.MaxPID}
	}
	return seen
}

// crossed is true where less is available than the limit; with reclaim, also until
// so much more is available.
func (t Threshold) crossed(o observation, reclaim bool) bool {
	limit := t.Limit.of(o.capacity)
	if reclaim {
		limit.Add(*t.Reclaim.of(o.capacity))
	}
	return o.available < limit.Value()
}
