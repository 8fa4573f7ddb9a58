package runtime

import (
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
)

// CycleState carries what plugins store during one scheduling cycle. Reads take no lock: Filter reads it once per
// node and plugin, writes happen a dozen times a cycle and replace the list.
type CycleState struct {
	mu      sync.Mutex
	entries atomic.Pointer[[]stateEntry]

	recordPlugins   bool
	skipFilter      sets.Set[string]
	skipScore       sets.Set[string]
	skipPreBind     sets.Set[string]
	parallelPreBind sets.Set[string]
}

type stateEntry struct {
	key  fwk.StateKey
	data fwk.StateData
}

var _ fwk.CycleState = &CycleState{}

// NewCycleState returns an empty state. With record, plugins are timed one by one during this cycle.
func NewCycleState(record bool) *CycleState {
	s := &CycleState{recordPlugins: record}
	s.entries.Store(&[]stateEntry{})
	return s
}

// Read returns what was stored under key, or fwk.ErrNotFound.
func (s *CycleState) Read(key fwk.StateKey) (fwk.StateData, error) {
	for _, entry := range *s.entries.Load() {
		if entry.key == key {
			return entry.data, nil
		}
	}
	return nil, fwk.ErrNotFound
}

// Write stores data under key.
func (s *CycleState) Write(key fwk.StateKey, data fwk.StateData) {
	s.replace(key, stateEntry{key, data})
}

// Delete removes what is stored under key.
func (s *CycleState) Delete(key fwk.StateKey) { s.replace(key) }

func (s *CycleState) replace(key fwk.StateKey, with ...stateEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.entries.Load()
	next := make([]stateEntry, 0, len(old)+1)
	for _, entry := range old {
		if entry.key != key {
			next = append(next, entry)
		}
	}
	next = append(next, with...)
	s.entries.Store(&next)
}

// Clone copies the state; data is cloned by its own means.
func (s *CycleState) Clone() fwk.CycleState {
	if s == nil {
		return nil
	}
	c := NewCycleState(s.recordPlugins)
	c.skipFilter, c.skipScore = s.skipFilter, s.skipScore
	c.skipPreBind, c.parallelPreBind = s.skipPreBind, s.parallelPreBind
	old := *s.entries.Load()
	next := make([]stateEntry, len(old))
	for i, entry := range old {
		next[i] = stateEntry{entry.key, entry.data.Clone()}
	}
	c.entries.Store(&next)
	return c
}

// ShouldRecordPluginMetrics says whether plugins are timed one by one during this cycle.
func (s *CycleState) ShouldRecordPluginMetrics() bool { return s.recordPlugins }

// GetSkipFilterPlugins names the plugins whose Filter is not run.
func (s *CycleState) GetSkipFilterPlugins() sets.Set[string] { return s.skipFilter }

// SetSkipFilterPlugins names the plugins whose Filter is not run.
func (s *CycleState) SetSkipFilterPlugins(plugins sets.Set[string]) { s.skipFilter = plugins }

// GetSkipScorePlugins names the plugins whose Score is not run.
func (s *CycleState) GetSkipScorePlugins() sets.Set[string] { return s.skipScore }

// SetSkipScorePlugins names the plugins whose Score is not run.
func (s *CycleState) SetSkipScorePlugins(plugins sets.Set[string]) { s.skipScore = plugins }

// GetSkipPreBindPlugins names the plugins whose PreBind is not run.
func (s *CycleState) GetSkipPreBindPlugins() sets.Set[string] { return s.skipPreBind }

// SetSkipPreBindPlugins names the plugins whose PreBind is not run.
func (s *CycleState) SetSkipPreBindPlugins(plugins sets.Set[string]) { s.skipPreBind = plugins }

// GetParallelPreBindPlugins names the plugins whose PreBind may run beside others.
func (s *CycleState) GetParallelPreBindPlugins() sets.Set[string] { return s.parallelPreBind }

// SetParallelPreBindPlugins names the plugins whose PreBind may run beside others.
func (s *CycleState) SetParallelPreBindPlugins(plugins sets.Set[string]) { s.parallelPreBind = plugins }

// ShouldSkipAllPostFilterPlugins is false: only pod-group cycles skip them.
func (s *CycleState) ShouldSkipAllPostFilterPlugins() bool { return false }

// IsPodGroupSchedulingCycle is false: pod groups are not scheduled here.
func (s *CycleState) IsPodGroupSchedulingCycle() bool { return false }

// GetPodGroupSchedulingCycle is nil: pod groups are not scheduled here.
func (s *CycleState) GetPodGroupSchedulingCycle() fwk.PodGroupCycleState { return nil }

// GetPlacementCycleState is nil: pod groups are not scheduled here.
func (s *CycleState) GetPlacementCycleState() fwk.PlacementCycleState { return nil }
