package daemonset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// plan is what one turn is to do.
type plan struct {
	create []string
	delete []*corev1.Pod
	// ended are among those to delete; they are replaced no faster than a back-off allows.
	ended []*corev1.Pod
}

// site is one node with the set's pods on it.
type site struct {
	node *corev1.Node
	fit  fit
	pods []*corev1.Pod
}

// state is all that a plan depends on.
type state struct {
	set  *appsv1.DaemonSet
	hash string
	// sites are the nodes; strays are pods meant for nodes that do not exist.
	sites  []site
	strays []*corev1.Pod
	now    time.Time
}

func survey(set *appsv1.DaemonSet, hash string, nodes []*corev1.Node, pods []*corev1.Pod, now time.Time) *state {
	byNode := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		byNode[nodeOf(pod)] = append(byNode[nodeOf(pod)], pod)
	}
	s := &state{set: set, hash: hash, now: now}
	for _, node := range nodes {
		s.sites = append(s.sites, site{node: node, fit: fits(set, node), pods: byNode[node.Name]})
		delete(byNode, node.Name)
	}
	for _, rest := range byNode {
		s.strays = append(s.strays, rest...)
	}
	return s
}

func (s *state) current(pod *corev1.Pod) bool {
	if pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == s.hash {
		return true
	}
	generation := s.set.Annotations[appsv1.DeprecatedTemplateGeneration]
	return generation != "" && pod.Labels["pod-template-generation"] == generation && pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == ""
}

func (s *state) available(pod *corev1.Pod) bool {
	return podstate.Available(pod, time.Duration(s.set.Spec.MinReadySeconds)*time.Second, s.now)
}

// limits are how many nodes may be without an available pod, and how many may have two, during a rolling update.
func (s *state) limits() (surge, unavailable int) {
	rolling := s.set.Spec.UpdateStrategy.RollingUpdate
	if s.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || rolling == nil {
		return 0, 0
	}
	desired := 0
	for _, at := range s.sites {
		if at.fit.start {
			desired++
		}
	}
	zero := intstr.FromInt32(0)
	surge, errSurge := intstr.GetScaledValueFromIntOrPercent(cmp.Or(rolling.MaxSurge, &zero), desired, true)
	unavailable, errUnavailable := intstr.GetScaledValueFromIntOrPercent(cmp.Or(rolling.MaxUnavailable, &zero), desired, true)
	if errSurge != nil || errUnavailable != nil || (surge == 0 && unavailable == 0) {
		return 0, 1
	}
	return surge, unavailable
}

// place sees to it that nodes that should have a pod have one, and others none.
func (s *state) place() plan {
	var p plan
	surge, _ := s.limits()
	for _, at := range s.sites {
		var running []*corev1.Pod
		for _, pod := range at.pods {
			switch {
			case pod.DeletionTimestamp != nil:
				if at.fit.start && at.fit.stay && !podstate.Ended(pod) {
					running = append(running, pod)
				}
			case podstate.Ended(pod) && at.fit.stay:
				p.ended = append(p.ended, pod)
			case !at.fit.stay:
				p.delete = append(p.delete, pod)
			default:
				running = append(running, pod)
			}
		}
		if at.fit.start && len(at.pods) == 0 {
			p.create = append(p.create, at.node.Name)
			continue
		}
		p.delete = append(p.delete, s.superfluous(running, surge > 0)...)
	}
	for _, pod := range s.strays {
		// Meant for a node that is gone; once bound there, it is the pod garbage collector's.
		if pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
			p.delete = append(p.delete, pod)
		}
	}
	return p
}

// superfluous returns the pods of one node that are too many. With surge, an old and a new pod may stand side by side
// until the new one is available.
func (s *state) superfluous(pods []*corev1.Pod, surging bool) []*corev1.Pod {
	if len(pods) <= 1 {
		return nil
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(bound(a, b), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	if !surging {
		return alive(pods[1:])
	}
	var old, fresh []*corev1.Pod
	for _, pod := range pods {
		if s.current(pod) {
			fresh = append(fresh, pod)
		} else {
			old = append(old, pod)
		}
	}
	var extra []*corev1.Pod
	if len(old) > 1 {
		extra = append(extra, old[1:]...)
	}
	if len(fresh) > 1 {
		extra = append(extra, fresh[1:]...)
	}
	if len(old) > 0 && len(fresh) > 0 && s.available(fresh[0]) {
		extra = append(extra, old[0])
	}
	return alive(extra)
}

func alive(pods []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil })
}

// bound orders pods that are bound before those that are not.
func bound(a, b *corev1.Pod) int {
	switch {
	case (a.Spec.NodeName != "") == (b.Spec.NodeName != ""):
		return 0
	case a.Spec.NodeName != "":
		return -1
	}
	return 1
}

// roll takes a step of a rolling update: without surge it ends old pods, which place then replaces; with surge it makes
// new ones beside the old. https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/
func (s *state) roll() plan {
	surge, unavailable := s.limits()
	if surge > 0 {
		return s.rollWithSurge(surge)
	}
	var p plan
	var candidates []*corev1.Pod
	down := 0
	for _, at := range s.sites {
		if !at.fit.start && len(at.pods) == 0 {
			continue
		}
		old, fresh := s.pair(at)
		switch {
		case fresh != nil && s.available(fresh):
		case fresh != nil, old == nil, old.DeletionTimestamp != nil:
			down++
		case !s.available(old):
			down++
			p.delete = append(p.delete, old) // It serves nobody: no reason to wait.
		default:
			candidates = append(candidates, old)
		}
	}
	room := max(0, min(unavailable-down, len(candidates)))
	p.delete = append(p.delete, candidates[:room]...)
	return p
}

func (s *state) rollWithSurge(surge int) plan {
	var p plan
	var candidates []string
	surging := 0
	for _, at := range s.sites {
		if !at.fit.start {
			continue
		}
		old, fresh := s.pair(at)
		switch {
		case old == nil:
		case fresh == nil && (old.DeletionTimestamp != nil || !s.available(old)):
			p.create = append(p.create, at.node.Name)
		case fresh == nil:
			candidates = append(candidates, at.node.Name)
		case !s.available(fresh):
			surging++
		}
	}
	room := max(0, min(surge-surging, len(candidates)))
	p.create = append(p.create, candidates[:room]...)
	return p
}

// pair returns the old and the new pod of a node.
func (s *state) pair(at site) (old, fresh *corev1.Pod) {
	for _, pod := range at.pods {
		if podstate.Ended(pod) {
			continue
		}
		if s.current(pod) {
			if pod.DeletionTimestamp == nil {
				fresh = pod
			}
		} else if old == nil || old.DeletionTimestamp != nil {
			old = pod
		}
	}
	return old, fresh
}

// status counts.
func (s *state) status() (status appsv1.DaemonSetStatus, wait time.Duration) {
	minReady := time.Duration(s.set.Spec.MinReadySeconds) * time.Second
	for _, at := range s.sites {
		if !at.fit.start {
			if len(at.pods) > 0 {
				status.NumberMisscheduled++
			}
			continue
		}
		status.DesiredNumberScheduled++
		if len(at.pods) == 0 {
			continue
		}
		status.CurrentNumberScheduled++
		var ready, available, updated bool
		for _, pod := range at.pods {
			if pod.DeletionTimestamp != nil {
				continue
			}
			left, isReady := podstate.AvailableIn(pod, minReady, s.now)
			ready = ready || isReady
			available = available || (isReady && left == 0)
			updated = updated || s.current(pod)
			if isReady && left > 0 && (wait == 0 || left < wait) {
				wait = left
			}
		}
		status.NumberReady += count(ready)
		status.NumberAvailable += count(available)
		status.UpdatedNumberScheduled += count(updated)
	}
	status.NumberUnavailable = status.DesiredNumberScheduled - status.NumberAvailable
	return status, wait
}

func count(yes bool) int32 {
	if yes {
		return 1
	}
	return 0
}
