package nodeinfo

import (
	"fmt"
	"maps"

	v1 "k8s.io/api/core/v1"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// NodeInfo is a node with the sums over its pods. Maps and slices inside are copied on change and shared by copies, so
// that copying a NodeInfo costs nothing that grows with its pods.
type NodeInfo struct {
	node             *v1.Node
	pods             []fwk.PodInfo
	withAffinity     []fwk.PodInfo
	withAntiAffinity []fwk.PodInfo
	requested        Resource
	nonZero          Resource
	allocatable      *Resource
	ports            fwk.HostPortInfo
	claims           map[string]int
	images           map[string]*fwk.ImageStateSummary
	features         ndf.FeatureSet
	generation       int64
}

var _ fwk.NodeInfo = &NodeInfo{}

// NewNodeInfo makes the information about a node (nil while the node is not known yet) that runs the given pods.
func NewNodeInfo(node *v1.Node, pods ...*v1.Pod) *NodeInfo {
	n := &NodeInfo{allocatable: &Resource{}}
	if node != nil {
		n.SetNode(node)
	}
	for _, pod := range pods {
		// A term that does not parse matches nothing; the API server refuses such pods.
		info, _ := NewPodInfo(pod)
		n.AddPodInfo(info)
	}
	return n
}

// Node returns the node object, nil while only pods of it are known.
func (n *NodeInfo) Node() *v1.Node { return n.node }

// GetPods returns the pods on the node.
func (n *NodeInfo) GetPods() []fwk.PodInfo { return n.pods }

// GetPodsWithAffinity returns the pods with any inter-pod affinity or anti-affinity.
func (n *NodeInfo) GetPodsWithAffinity() []fwk.PodInfo { return n.withAffinity }

// GetPodsWithRequiredAntiAffinity returns the pods with required anti-affinity.
func (n *NodeInfo) GetPodsWithRequiredAntiAffinity() []fwk.PodInfo { return n.withAntiAffinity }

// GetPodsWithRequiredNonHostScopedAntiAffinity is empty: the fast path that it serves is off by default upstream.
func (n *NodeInfo) GetPodsWithRequiredNonHostScopedAntiAffinity() []fwk.PodInfo { return nil }

// GetUsedPorts returns the host ports in use.
func (n *NodeInfo) GetUsedPorts() fwk.HostPortInfo { return n.ports }

// GetRequested returns the sum of the pods' requests.
func (n *NodeInfo) GetRequested() fwk.Resource { return &n.requested }

// GetNonZeroRequested returns the sum of the requests with defaults in place of unstated CPU and memory.
func (n *NodeInfo) GetNonZeroRequested() fwk.Resource { return &n.nonZero }

// GetAllocatable returns what the node offers to pods.
func (n *NodeInfo) GetAllocatable() fwk.Resource { return n.allocatable }

// GetImageStates returns the images on the node by name.
func (n *NodeInfo) GetImageStates() map[string]*fwk.ImageStateSummary { return n.images }

// GetPVCRefCounts returns how many pods of the node use each claim.
func (n *NodeInfo) GetPVCRefCounts() map[string]int { return n.claims }

// GetGeneration grows with every change.
func (n *NodeInfo) GetGeneration() int64 { return n.generation }

// GetNodeDeclaredFeatures returns the features the node's kubelet declares.
func (n *NodeInfo) GetNodeDeclaredFeatures() ndf.FeatureSet { return n.features }

// SetGeneration stamps the information; the cache numbers changes over all nodes.
func (n *NodeInfo) SetGeneration(generation int64) { n.generation = generation }

// SetImages replaces the images known to be on the node.
func (n *NodeInfo) SetImages(images map[string]*fwk.ImageStateSummary) { n.images = images }

// Snapshot returns an independent copy.
func (n *NodeInfo) Snapshot() fwk.NodeInfo { return n.Clone() }

// Clone returns an independent copy.
func (n *NodeInfo) Clone() *NodeInfo {
	c := &NodeInfo{}
	c.CopyFrom(n)
	return c
}

// CopyFrom makes n an independent copy of other in place.
func (n *NodeInfo) CopyFrom(other *NodeInfo) {
	*n = *other
	// A full capacity makes the copy's next append move elsewhere.
	n.pods = n.pods[:len(n.pods):len(n.pods)]
	n.withAffinity = n.withAffinity[:len(n.withAffinity):len(n.withAffinity)]
	n.withAntiAffinity = n.withAntiAffinity[:len(n.withAntiAffinity):len(n.withAntiAffinity)]
}

// String names the node and its pods.
func (n *NodeInfo) String() string {
	names := make([]string, len(n.pods))
	for i, p := range n.pods {
		names[i] = p.GetPod().Name
	}
	return fmt.Sprintf("&NodeInfo{Pods:%v, RequestedResource:%#v, NonZeroRequest:%#v, UsedPort:%#v, AllocatableResource:%#v}",
		names, n.requested, n.nonZero, n.ports, n.allocatable)
}

// SetNode replaces the node object.
func (n *NodeInfo) SetNode(node *v1.Node) {
	n.node = node
	n.allocatable = NewResource(node.Status.Allocatable)
	n.features = ndf.DefaultFramework.TryMap(node.Status.DeclaredFeatures)
	n.generation++
}

// RemoveNode forgets the node object but keeps its pods, whose deletions are still to come.
func (n *NodeInfo) RemoveNode() {
	n.node = nil
	n.generation++
}

// AddPodInfo counts one more pod.
func (n *NodeInfo) AddPodInfo(info fwk.PodInfo) {
	n.pods = append(n.pods, info)
	if hasAffinity(info.GetPod()) {
		n.withAffinity = append(n.withAffinity, info)
	}
	if len(info.GetRequiredAntiAffinityTerms()) > 0 {
		n.withAntiAffinity = append(n.withAntiAffinity, info)
	}
	n.count(info, 1)
}

// RemovePod takes a pod away again.
func (n *NodeInfo) RemovePod(_ klog.Logger, pod *v1.Pod) error {
	if pod.UID == "" {
		return fmt.Errorf("cannot get cache key for pod with empty UID")
	}
	pods, removed := without(n.pods, pod)
	if removed == nil {
		name := ""
		if n.node != nil {
			name = n.node.Name
		}
		return fmt.Errorf("no corresponding pod %s in pods of node %s", pod.Name, name)
	}
	n.pods = pods
	if hasAffinity(removed.GetPod()) {
		n.withAffinity, _ = without(n.withAffinity, pod)
		n.withAntiAffinity, _ = without(n.withAntiAffinity, pod)
	}
	n.count(removed, -1)
	return nil
}

func (n *NodeInfo) count(info fwk.PodInfo, sign int64) {
	requests := info.CalculateResource()
	n.requested.accumulate(requests.Resource, sign)
	n.nonZero.MilliCPU += sign * requests.Non0CPU
	n.nonZero.Memory += sign * requests.Non0Mem
	n.countPorts(info.GetPod(), sign > 0)
	n.countClaims(info.GetPod(), int(sign))
	n.generation++
}

func (n *NodeInfo) countPorts(pod *v1.Pod, add bool) {
	ports := HostPorts(pod)
	if len(ports) == 0 {
		return
	}
	next := make(fwk.HostPortInfo, len(n.ports)+1)
	for ip, used := range n.ports {
		next[ip] = maps.Clone(used)
	}
	for _, port := range ports {
		if add {
			next.Add(port.HostIP, string(port.Protocol), port.HostPort)
		} else {
			next.Remove(port.HostIP, string(port.Protocol), port.HostPort)
		}
	}
	n.ports = next
}

func (n *NodeInfo) countClaims(pod *v1.Pod, delta int) {
	keys := claimKeys(pod)
	if len(keys) == 0 {
		return
	}
	next := maps.Clone(n.claims)
	if next == nil {
		next = make(map[string]int, len(keys))
	}
	for _, key := range keys {
		if next[key] += delta; next[key] <= 0 {
			delete(next, key)
		}
	}
	n.claims = next
}

// without returns a new list that lacks the pod; the old one may be shared.
func without(list []fwk.PodInfo, pod *v1.Pod) ([]fwk.PodInfo, fwk.PodInfo) {
	for i, info := range list {
		if info.GetPod().UID != pod.UID {
			continue
		}
		next := make([]fwk.PodInfo, 0, len(list)+1)
		next = append(next, list[:i]...)
		return append(next, list[i+1:]...), info
	}
	return list, nil
}

func hasAffinity(pod *v1.Pod) bool {
	affinity := pod.Spec.Affinity
	return affinity != nil && (affinity.PodAffinity != nil || affinity.PodAntiAffinity != nil)
}
