// Package podgroup is what the scheduler knows of groups of pods that are to be scheduled together (KEP-4671): the
// PodGroup objects, and how far the pods of each have come. It is the PodGroupManager of k8s.io/kube-scheduler/framework;
// groups of groups (CompositePodGroup, alpha) it has none.
// https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/
package podgroup

import (
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1beta1"
	"k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
)

// podsByGroup is the index of pods by the group that they name.
const podsByGroup = "pods-by-group"

var errNoComposites = errors.New("composite pod groups are not scheduled here")

// NameOf returns the name of the pod's group, "" if it has none.
func NameOf(pod *v1.Pod) string {
	if pod.Spec.SchedulingGroup == nil || pod.Spec.SchedulingGroup.PodGroupName == nil {
		return ""
	}
	return *pod.Spec.SchedulingGroup.PodGroupName
}

// Assumed tells of pods that have been given a node which the API server does not know of yet.
type Assumed interface {
	IsAssumed(uid types.UID) bool
}

// Manager finds groups and the pods in them.
type Manager struct {
	groups  schedulinglisters.PodGroupLister
	pods    cache.Indexer
	assumed Assumed
}

var _ fwk.PodGroupManager = &Manager{}

// NewManager makes a manager that reads from the informers, which are not started yet.
func NewManager(factory informers.SharedInformerFactory, assumed Assumed) (*Manager, error) {
	pods := factory.Core().V1().Pods().Informer()
	err := pods.AddIndexers(cache.Indexers{podsByGroup: func(obj any) ([]string, error) {
		if pod, ok := obj.(*v1.Pod); ok && NameOf(pod) != "" {
			return []string{pod.Namespace + "/" + NameOf(pod)}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("indexing pods by group: %w", err)
	}
	return &Manager{groups: factory.Scheduling().V1beta1().PodGroups().Lister(), pods: pods.GetIndexer(), assumed: assumed}, nil
}

// PodGroups finds groups.
func (m *Manager) PodGroups() fwk.PodGroupLister { return groups{m} }

// PodGroupStates tells how far the pods of groups have come.
func (m *Manager) PodGroupStates() fwk.PodGroupStateLister { return states{m} }

// CompositePodGroups is nil: there are none.
func (m *Manager) CompositePodGroups() fwk.CompositePodGroupLister { return nil }

// CompositePodGroupStates is nil: there are none.
func (m *Manager) CompositePodGroupStates() fwk.CompositePodGroupStateLister { return nil }

// BuildHierarchySnapshotFromPod fails: there are no hierarchies.
func (m *Manager) BuildHierarchySnapshotFromPod(*v1.Pod) (fwk.PodGroupManager, error) {
	return nil, errNoComposites
}

// GetRootKeyForGroup returns the key itself: there are no hierarchies.
func (m *Manager) GetRootKeyForGroup(key fwk.EntityKey) (fwk.EntityKey, bool, error) {
	return key, true, nil
}

type groups struct{ *Manager }

// Get returns a group.
func (g groups) Get(namespace, name string) (*schedulingv1beta1.PodGroup, error) {
	return g.groups.PodGroups(namespace).Get(name)
}

type states struct{ *Manager }

// Get returns the state of a group as it is now. A group without pods has an empty one.
func (s states) Get(namespace, name string) (fwk.PodGroupState, error) {
	found, err := s.pods.ByIndex(podsByGroup, namespace+"/"+name)
	if err != nil {
		return nil, err
	}
	state := &State{waiting: map[string]*v1.Pod{}, assumed: sets.New[types.UID](), assigned: sets.New[types.UID]()}
	for _, obj := range found {
		pod, ok := obj.(*v1.Pod)
		switch {
		case !ok:
		case pod.Spec.NodeName != "":
			state.assigned.Insert(pod.UID)
			state.placed = append(state.placed, pod)
		case s.assumed.IsAssumed(pod.UID):
			state.assumed.Insert(pod.UID)
			state.placed = append(state.placed, pod)
		default:
			state.waiting[pod.Namespace+"/"+pod.Name] = pod
		}
	}
	return state, nil
}

// State is how far the pods of a group have come.
type State struct {
	waiting           map[string]*v1.Pod
	assumed, assigned sets.Set[types.UID]
	placed            []*v1.Pod
}

var _ fwk.PodGroupState = &State{}

// AllPods returns all pods of the group.
func (s *State) AllPods() sets.Set[types.UID] {
	all := s.assumed.Union(s.assigned)
	for _, pod := range s.waiting {
		all.Insert(pod.UID)
	}
	return all
}

// AllPodsCount is how many pods the group has.
func (s *State) AllPodsCount() int { return len(s.waiting) + s.ScheduledPodsCount() }

// UnscheduledPods returns the pods without a node, by namespace and name.
func (s *State) UnscheduledPods() map[string]*v1.Pod { return s.waiting }

// AssumedPods returns the pods whose node the API server does not know of yet.
func (s *State) AssumedPods() sets.Set[types.UID] { return s.assumed }

// AssignedPods returns the pods that are bound.
func (s *State) AssignedPods() sets.Set[types.UID] { return s.assigned }

// ScheduledPods returns the pods with a node.
func (s *State) ScheduledPods() []*v1.Pod { return s.placed }

// ScheduledPodsCount is how many pods have a node.
func (s *State) ScheduledPodsCount() int { return len(s.assumed) + len(s.assigned) }
