package queue

import (
	"slices"
	"sync"
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// Nominator knows which pods are about to take which nodes: preemptors whose victims are going, and pods being bound.
type Nominator struct {
	pods corelisters.PodLister

	size    atomic.Int64
	changes atomic.Int64
	mu      sync.RWMutex
	byNode  map[string][]fwk.PodInfo
	nodeOf  map[types.UID]string
}

var _ fwk.PodNominator = &Nominator{}

// NewNominator returns an empty nominator. With a lister, pods that are gone or bound are not nominated.
func NewNominator(pods corelisters.PodLister) *Nominator {
	return &Nominator{pods: pods, byNode: map[string][]fwk.PodInfo{}, nodeOf: map[types.UID]string{}}
}

// AddNominatedPod nominates a pod: to the node of info, or if that leaves it open, to the one in the pod's status.
func (n *Nominator) AddNominatedPod(_ klog.Logger, pod fwk.PodInfo, info *fwk.NominatingInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(pod, info)
}

func (n *Nominator) add(info fwk.PodInfo, nominating *fwk.NominatingInfo) {
	pod := info.GetPod()
	n.remove(pod.UID)
	node := pod.Status.NominatedNodeName
	if nominating.Mode() == fwk.ModeOverride {
		node = nominating.NominatedNodeName
	}
	if node == "" || n.settled(pod) {
		return
	}
	n.byNode[node] = append(n.byNode[node], info)
	n.nodeOf[pod.UID] = node
	n.changed()
}

// settled says that the pod needs no node any more.
func (n *Nominator) settled(pod *v1.Pod) bool {
	if n.pods == nil {
		return false
	}
	current, err := n.pods.Pods(pod.Namespace).Get(pod.Name)
	return err != nil || current.UID != pod.UID || current.Spec.NodeName != ""
}

func (n *Nominator) remove(uid types.UID) {
	node, found := n.nodeOf[uid]
	if !found {
		return
	}
	delete(n.nodeOf, uid)
	// A reader may still hold the old list.
	rest := slices.Clone(n.byNode[node])
	rest = slices.DeleteFunc(rest, func(info fwk.PodInfo) bool { return info.GetPod().UID == uid })
	if n.byNode[node] = rest; len(rest) == 0 {
		delete(n.byNode, node)
	}
	n.changed()
}

func (n *Nominator) changed() {
	n.size.Store(int64(len(n.nodeOf)))
	n.changes.Add(1)
}

// DeleteNominatedPodIfExists takes a nomination back.
func (n *Nominator) DeleteNominatedPodIfExists(pod *v1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(pod.UID)
}

// UpdateNominatedPod replaces the pod. A nomination that is not written to the pod's status yet outlives updates that
// do not speak of it.
func (n *Nominator) UpdateNominatedPod(_ klog.Logger, older *v1.Pod, newer fwk.PodInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var keep *fwk.NominatingInfo
	if older.Status.NominatedNodeName == "" && newer.GetPod().Status.NominatedNodeName == "" {
		if node, found := n.nodeOf[older.UID]; found {
			keep = &fwk.NominatingInfo{NominatedNodeName: node, NominatingMode: fwk.ModeOverride}
		}
	}
	n.remove(older.UID)
	n.add(newer, keep)
}

// Any says whether any pod is nominated.
func (n *Nominator) Any() bool { return n.size.Load() > 0 }

// NominationChanges counts how often nominations have changed.
func (n *Nominator) NominationChanges() int64 { return n.changes.Load() }

// EachNominated visits the nodes that pods are nominated to. The caller must not change the lists.
func (n *Nominator) EachNominated(visit func(node string, pods []fwk.PodInfo)) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for node, list := range n.byNode {
		visit(node, list[:len(list):len(list)])
	}
}

// NominatedPodsForNode lists the pods nominated to a node. The caller must not change the list.
func (n *Nominator) NominatedPodsForNode(node string) []fwk.PodInfo {
	// Asked once for every node that is filtered, and nearly always there are none at all.
	if n.size.Load() == 0 {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := n.byNode[node]
	return list[:len(list):len(list)]
}
