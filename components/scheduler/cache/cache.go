// Package cache keeps the scheduler's view of nodes and the pods on them, ahead of the API server by the pods it has
// placed but not yet seen bound, and hands out snapshots that cost only what changed.
package cache

import (
	"fmt"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// Cache is the state of the cluster. All methods are safe for concurrent use; UpdateSnapshot serves one snapshot.
type Cache struct {
	mu         sync.Mutex
	nodes      map[string]*node
	pods       map[types.UID]*pod
	images     map[string]*image
	imagesAt   int64 // number of changes to images
	generation int64
	dirty      map[string]struct{}
	reorder    bool // a node came, went or moved to another zone
	assumed    int
}

type node struct {
	info       *nodeinfo.NodeInfo
	images     map[string]int64 // size by name
	summaryAt  int64
	summarised bool
}

type pod struct {
	info    *nodeinfo.PodInfo
	assumed bool
}

type image struct {
	size  int64
	nodes map[string]struct{}
}

// New returns an empty cache.
func New() *Cache {
	return &Cache{
		nodes:  map[string]*node{},
		pods:   map[types.UID]*pod{},
		images: map[string]*image{},
		dirty:  map[string]struct{}{},
	}
}

// AssumePod counts a pod on the node named in it before the API server knows.
func (c *Cache) AssumePod(info *nodeinfo.PodInfo) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid := info.GetPod().UID
	if _, found := c.pods[uid]; found {
		return fmt.Errorf("pod %v(%v) is in the cache, so can't be assumed", uid, klog.KObj(info.GetPod()))
	}
	c.put(info)
	c.pods[uid] = &pod{info: info, assumed: true}
	c.assumed++
	return nil
}

// ForgetPod takes an assumed pod away again; a pod already confirmed stays.
func (c *Cache) ForgetPod(p *v1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, found := c.pods[p.UID]
	if !found || !known.assumed {
		return fmt.Errorf("pod %v(%v) wasn't assumed so cannot be forgotten", p.UID, klog.KObj(p))
	}
	return c.drop(p.UID)
}

// AddPod takes in a pod that the API server says is bound. It confirms an assumed pod.
func (c *Cache) AddPod(p *v1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replace(p)
}

// UpdatePod takes in a newer version of a bound pod.
func (c *Cache) UpdatePod(p *v1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replace(p)
}

// RemovePod forgets a bound pod, or an assumed one that was deleted.
func (c *Cache) RemovePod(p *v1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.pods[p.UID]; !found {
		return fmt.Errorf("pod %v(%v) is not found in scheduler cache, so cannot be removed from it", p.UID, klog.KObj(p))
	}
	return c.drop(p.UID)
}

// IsAssumed says whether the pod is placed but not confirmed.
func (c *Cache) IsAssumed(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, found := c.pods[uid]
	return found && known.assumed
}

// Pod returns the cached pod.
func (c *Cache) Pod(uid types.UID) (*v1.Pod, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, found := c.pods[uid]
	if !found {
		return nil, false
	}
	return known.info.GetPod(), true
}

// Size counts nodes, pods and, among these, assumed pods.
func (c *Cache) Size() (nodes, pods, assumed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.nodes), len(c.pods), c.assumed
}

// AddNode takes in a node or a newer version of it.
func (c *Cache) AddNode(n *v1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.node(n.Name)
	if old := entry.info.Node(); old == nil || zoneOf(old) != zoneOf(n) {
		c.reorder = true
	}
	c.setImages(n.Name, entry, n.Status.Images)
	entry.info.SetNode(n)
	c.touch(n.Name, entry)
}

// RemoveNode forgets a node. Its pods stay counted until they are deleted themselves.
func (c *Cache) RemoveNode(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, found := c.nodes[name]
	if !found || entry.info.Node() == nil {
		return fmt.Errorf("node %v is not found", name)
	}
	c.setImages(name, entry, nil)
	entry.info.RemoveNode()
	c.reorder = true
	c.touch(name, entry)
	c.collect(name, entry)
	return nil
}

// replace puts p in the place of what is known under its UID.
func (c *Cache) replace(p *v1.Pod) error {
	var info *nodeinfo.PodInfo
	var err error
	if known, found := c.pods[p.UID]; !found {
		info, err = nodeinfo.NewPodInfo(p)
	} else {
		info, err = known.info.Renew(p)
		if old := known.info.GetPod(); old.Spec.NodeName != p.Spec.NodeName {
			klog.Background().V(2).Info("Pod was bound to another node than assumed", "pod", klog.KObj(p), "assumed", old.Spec.NodeName, "node", p.Spec.NodeName)
		}
		if dropErr := c.drop(p.UID); dropErr != nil {
			return dropErr
		}
	}
	c.put(info)
	c.pods[p.UID] = &pod{info: info}
	return err
}

func (c *Cache) put(info *nodeinfo.PodInfo) {
	name := info.GetPod().Spec.NodeName
	entry := c.node(name)
	entry.info.AddPodInfo(info)
	c.touch(name, entry)
}

func (c *Cache) drop(uid types.UID) error {
	known := c.pods[uid]
	delete(c.pods, uid)
	if known.assumed {
		c.assumed--
	}
	name := known.info.GetPod().Spec.NodeName
	entry := c.node(name)
	err := entry.info.RemovePod(klog.Background(), known.info.GetPod())
	c.touch(name, entry)
	c.collect(name, entry)
	return err
}

// node returns the entry of a node; a pod may be heard of before its node.
func (c *Cache) node(name string) *node {
	entry, found := c.nodes[name]
	if !found {
		entry = &node{info: nodeinfo.NewNodeInfo(nil)}
		c.nodes[name] = entry
	}
	return entry
}

// collect drops the entry of a removed node with its last pod.
func (c *Cache) collect(name string, entry *node) {
	if entry.info.Node() == nil && len(entry.info.GetPods()) == 0 {
		delete(c.nodes, name)
	}
}

func (c *Cache) touch(name string, entry *node) {
	c.generation++
	entry.info.SetGeneration(c.generation)
	c.dirty[name] = struct{}{}
}

// setImages records which images a node holds; how many nodes hold an image weighs in ImageLocality.
func (c *Cache) setImages(name string, entry *node, list []v1.ContainerImage) {
	next := make(map[string]int64, len(list))
	for i := range list {
		for _, n := range list[i].Names {
			next[n] = list[i].SizeBytes
		}
	}
	changed := !entry.summarised
	for old := range entry.images {
		if _, keeps := next[old]; keeps {
			continue
		}
		changed = true
		state := c.images[old]
		if delete(state.nodes, name); len(state.nodes) == 0 {
			delete(c.images, old)
		}
	}
	for n, size := range next {
		if have, found := entry.images[n]; found && have == size {
			continue
		}
		changed = true
		state := c.images[n]
		if state == nil {
			state = &image{nodes: map[string]struct{}{}}
			c.images[n] = state
		}
		state.size = size
		state.nodes[name] = struct{}{}
	}
	if changed {
		entry.images = next
		entry.summarised = false
		c.imagesAt++
	}
}

// summarise refreshes the counts of the node's images if any changed since.
func (c *Cache) summarise(entry *node) {
	if entry.summarised && entry.summaryAt == c.imagesAt {
		return
	}
	states := make(map[string]*fwk.ImageStateSummary, len(entry.images))
	for name, size := range entry.images {
		states[name] = &fwk.ImageStateSummary{Size: size, NumNodes: len(c.images[name].nodes)}
	}
	entry.info.SetImages(states)
	entry.summarised, entry.summaryAt = true, c.imagesAt
}
