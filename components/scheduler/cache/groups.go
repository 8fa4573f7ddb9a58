package cache

import (
	"errors"

	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Pod groups (KEP-4671) are off by default in v1.37 and not scheduled here; their listers know none.
var errNoGroups = errors.New("pod groups are not supported")

type (
	groupStates     struct{}
	groups          struct{}
	compositeStates struct{}
	composites      struct{}
)

func (groupStates) Get(string, string) (fwk.PodGroupState, error)      { return nil, errNoGroups }
func (groups) Get(string, string) (*schedulingv1beta1.PodGroup, error) { return nil, errNoGroups }
func (compositeStates) Get(string, string) (fwk.CompositePodGroupState, error) {
	return nil, errNoGroups
}
func (composites) Get(string, string) (*schedulingv1alpha3.CompositePodGroup, error) {
	return nil, errNoGroups
}

// PodGroupStates lists the states of no pod group.
func (s *Snapshot) PodGroupStates() fwk.PodGroupStateLister { return groupStates{} }

// PodGroups lists no pod group.
func (s *Snapshot) PodGroups() fwk.PodGroupLister { return groups{} }

// CompositePodGroupStates lists the states of no composite pod group.
func (s *Snapshot) CompositePodGroupStates() fwk.CompositePodGroupStateLister {
	return compositeStates{}
}

// CompositePodGroups lists no composite pod group.
func (s *Snapshot) CompositePodGroups() fwk.CompositePodGroupLister { return composites{} }
