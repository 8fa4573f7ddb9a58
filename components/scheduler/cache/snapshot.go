package cache

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// Snapshot is the cluster as one scheduling cycle sees it.
type Snapshot struct {
	byName           map[string]*nodeinfo.NodeInfo
	nodes            []fwk.NodeInfo
	withAffinity     []fwk.NodeInfo
	withAntiAffinity []fwk.NodeInfo

	places map[string]int32 // of nodes in the list
	layout int64
	// log holds the places of nodes that changed; before it, dropped others were noted.
	log     []int32
	dropped int64
}

// logLimit is how many changes are remembered. Who has missed more looks at all nodes again.
const logLimit = 4096

var (
	_ fwk.MutableSnapshotSharedLister = &Snapshot{}
	_ fwk.NodeInfoLister              = &Snapshot{}
	_ fwk.StorageInfoLister           = &Snapshot{}
)

// NewSnapshot returns an empty snapshot.
func NewSnapshot() *Snapshot { return &Snapshot{byName: map[string]*nodeinfo.NodeInfo{}} }

// UpdateSnapshot brings the snapshot up to date. It copies the nodes that changed since the last call and no others.
func (c *Cache) UpdateSnapshot(s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	relist := false
	for name := range c.dirty {
		entry, found := c.nodes[name]
		if !found || entry.info.Node() == nil {
			delete(s.byName, name)
			continue
		}
		c.summarise(entry)
		info, known := s.byName[name]
		if !known {
			info = &nodeinfo.NodeInfo{}
			s.byName[name] = info
		}
		hadAffinity, hadAnti := len(info.GetPodsWithAffinity()) > 0, len(info.GetPodsWithRequiredAntiAffinity()) > 0
		info.CopyFrom(entry.info)
		if place, listed := s.places[name]; listed && !c.reorder {
			s.note(place)
		}
		relist = relist || hadAffinity != (len(info.GetPodsWithAffinity()) > 0) ||
			hadAnti != (len(info.GetPodsWithRequiredAntiAffinity()) > 0)
	}
	clear(c.dirty)
	if c.reorder {
		s.nodes = s.interleaveZones()
		s.number()
		c.reorder = false
		relist = true
	}
	if relist {
		s.relistAffinity()
	}
}

// note remembers that a node changed.
func (s *Snapshot) note(place int32) {
	if len(s.log) == logLimit {
		const half = logLimit / 2
		s.log = s.log[:copy(s.log, s.log[half:])]
		s.dropped += half
	}
	s.log = append(s.log, place)
}

// number gives every node of a new list its place.
func (s *Snapshot) number() {
	s.layout++
	s.places = make(map[string]int32, len(s.nodes))
	for i, info := range s.nodes {
		s.places[info.Node().Name] = int32(i)
	}
	s.dropped += int64(len(s.log))
	s.log = s.log[:0]
}

// Layout changes with the list of nodes.
func (s *Snapshot) Layout() int64 { return s.layout }

// Place is where in the list a node is.
func (s *Snapshot) Place(name string) (int, bool) {
	place, found := s.places[name]
	return int(place), found
}

// All lists the nodes.
func (s *Snapshot) All() []fwk.NodeInfo { return s.nodes }

// Changes returns the places of nodes that changed since a count of changes, some of them more than once, and the count
// now. With all, it does not know any more, and any node may have changed.
func (s *Snapshot) Changes(since int64) (places []int32, now int64, all bool) {
	now = s.dropped + int64(len(s.log))
	if since < s.dropped {
		return nil, now, true
	}
	return s.log[since-s.dropped:], now, false
}

// interleaveZones lists the nodes zone by turns, so that a search that stops early has looked into every zone.
func (s *Snapshot) interleaveZones() []fwk.NodeInfo {
	zones := map[string][]*nodeinfo.NodeInfo{}
	for _, info := range s.byName {
		zone := zoneOf(info.Node())
		zones[zone] = append(zones[zone], info)
	}
	order := make([]string, 0, len(zones))
	for zone, members := range zones {
		order = append(order, zone)
		slices.SortFunc(members, func(a, b *nodeinfo.NodeInfo) int {
			if !a.Node().CreationTimestamp.Equal(&b.Node().CreationTimestamp) {
				return a.Node().CreationTimestamp.Compare(b.Node().CreationTimestamp.Time)
			}
			if a.Node().Name < b.Node().Name {
				return -1
			}
			return 1
		})
	}
	slices.Sort(order)
	list := make([]fwk.NodeInfo, 0, len(s.byName))
	for turn := 0; len(list) < len(s.byName); turn++ {
		for _, zone := range order {
			if turn < len(zones[zone]) {
				list = append(list, zones[zone][turn])
			}
		}
	}
	return list
}

func (s *Snapshot) relistAffinity() {
	s.withAffinity, s.withAntiAffinity = nil, nil
	for _, info := range s.nodes {
		if len(info.GetPodsWithAffinity()) > 0 {
			s.withAffinity = append(s.withAffinity, info)
		}
		if len(info.GetPodsWithRequiredAntiAffinity()) > 0 {
			s.withAntiAffinity = append(s.withAntiAffinity, info)
		}
	}
}

// NumNodes counts the nodes.
func (s *Snapshot) NumNodes() int { return len(s.nodes) }

// NodeInfos lists nodes.
func (s *Snapshot) NodeInfos() fwk.NodeInfoLister { return s }

// StorageInfos tells which claims are in use.
func (s *Snapshot) StorageInfos() fwk.StorageInfoLister { return s }

// List returns all nodes.
func (s *Snapshot) List() ([]fwk.NodeInfo, error) { return s.nodes, nil }

// HavePodsWithAffinityList returns the nodes that run pods with inter-pod (anti-)affinity.
func (s *Snapshot) HavePodsWithAffinityList() ([]fwk.NodeInfo, error) { return s.withAffinity, nil }

// HavePodsWithRequiredAntiAffinityList returns the nodes that run pods with required anti-affinity.
func (s *Snapshot) HavePodsWithRequiredAntiAffinityList() ([]fwk.NodeInfo, error) {
	return s.withAntiAffinity, nil
}

// HavePodsWithRequiredNonHostScopedAntiAffinityList is empty: the fast path it serves is off by default upstream.
func (s *Snapshot) HavePodsWithRequiredNonHostScopedAntiAffinityList() ([]fwk.NodeInfo, error) {
	return nil, nil
}

// Get returns one node.
func (s *Snapshot) Get(name string) (fwk.NodeInfo, error) {
	if info, found := s.byName[name]; found {
		return info, nil
	}
	return nil, fmt.Errorf("nodeinfo not found for node name %q", name)
}

// IsPVCUsedByPods says whether any scheduled pod uses the claim, named "namespace/name".
func (s *Snapshot) IsPVCUsedByPods(key string) bool {
	for _, info := range s.byName {
		if info.GetPVCRefCounts()[key] > 0 {
			return true
		}
	}
	return false
}

// StartMutations refuses: only pod-group plugins need it, and groups are not scheduled here.
func (s *Snapshot) StartMutations() error { return errNoGroups }

// EndMutations refuses, see StartMutations.
func (s *Snapshot) EndMutations() error { return errNoGroups }

// AddPod refuses, see StartMutations.
func (s *Snapshot) AddPod(fwk.PodInfo, string) error { return errNoGroups }

// RemovePod refuses, see StartMutations.
func (s *Snapshot) RemovePod(klog.Logger, *v1.Pod, string) error { return errNoGroups }

func zoneOf(n *v1.Node) string {
	return n.Labels[v1.LabelTopologyRegion] + "/" + n.Labels[v1.LabelTopologyZone]
}
