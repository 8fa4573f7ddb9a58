// Package preemption makes room for a pod that fits nowhere by evicting less important ones.
// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
package preemption

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/diagnosis"
)

// Evaluator chooses where to preempt.
type Evaluator struct {
	handle  fwk.Handle
	pods    corelisters.PodLister
	budgets policylisters.PodDisruptionBudgetLister
	// minPercent and minNodes bound how many candidate nodes are looked for.
	minPercent, minNodes int
	// from chooses the node to begin with.
	from func(nodes int) int
	memo memo
}

// NewEvaluator makes an evaluator that looks for candidates on at least minPercent of the nodes and minNodes nodes.
func NewEvaluator(handle fwk.Handle, minPercent, minNodes int32) *Evaluator {
	return &Evaluator{
		handle:     handle,
		pods:       handle.SharedInformerFactory().Core().V1().Pods().Lister(),
		budgets:    handle.SharedInformerFactory().Policy().V1().PodDisruptionBudgets().Lister(),
		minPercent: int(minPercent),
		minNodes:   int(minNodes),
		from:       rand.Intn,
		memo:       newMemo(),
	}
}

// Candidate is a node with the pods to evict from it.
type Candidate struct {
	node       string
	victims    []*v1.Pod
	violations int64
}

// Node names the node.
func (c *Candidate) Node() string { return c.node }

// NumVictims counts the pods to evict.
func (c *Candidate) NumVictims() int { return len(c.victims) }

// Evaluate chooses a node and its victims. Without one, it returns why, and whether an earlier nomination is void.
func (e *Evaluator) Evaluate(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes fwk.NodeToStatusReader) (chosen *Candidate, denominate bool, status *fwk.Status) {
	// The nomination in the queue's copy of the pod may be outdated.
	queued := pod
	pod, err := e.pods.Pods(pod.Namespace).Get(pod.Name)
	if err != nil {
		return nil, false, fwk.AsStatus(err)
	}
	if reason := e.ineligible(pod, nodes); reason != "" {
		return nil, false, fwk.NewStatus(fwk.Unschedulable, reason)
	}
	lister := e.handle.SnapshotSharedLister().NodeInfos()
	all, err := lister.List()
	if err != nil {
		return nil, false, fwk.AsStatus(err)
	}
	if len(all) == 0 {
		return nil, false, fwk.AsStatus(errors.New("no nodes available"))
	}
	hopeful, err := nodes.NodesForStatusCode(lister, fwk.Unschedulable)
	if err != nil {
		return nil, false, fwk.AsStatus(err)
	}
	budgets, err := e.budgets.List(labels.Everything())
	if err != nil {
		return nil, false, fwk.AsStatus(err)
	}
	find := &search{handle: e.handle, preemptor: pod, state: state, budgets: parse(budgets)}
	// The state was prepared for the queue's copy.
	if telling, ok := e.handle.(locality); ok && pod == queued && telling.OnlyNodeMatters(state, pod) {
		find.known = e.memo.of(pod, budgets)
	}
	candidates, statuses, err := e.candidates(ctx, find, hopeful)
	if err != nil && len(candidates) == 0 {
		return nil, false, fwk.AsStatus(err)
	}
	if len(candidates) == 0 {
		statuses.SetAbsent(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Preemption is not helpful for scheduling"))
		fit := &diagnosis.FitError{Pod: pod, NumNodes: len(all), Diagnosis: diagnosis.Diagnosis{Nodes: statuses}}
		return nil, true, fwk.NewStatus(fwk.Unschedulable, fit.Error())
	}
	if candidates, err = e.askExtenders(ctx, pod, candidates); err != nil {
		return nil, false, fwk.AsStatus(err)
	}
	if len(candidates) == 0 {
		return nil, false, fwk.NewStatus(fwk.Unschedulable, "no candidate node for preemption")
	}
	return best(candidates), false, nil
}

// ineligible says why the pod may not preempt now: it must not, or victims of its last preemption are still going.
func (e *Evaluator) ineligible(pod *v1.Pod, nodes fwk.NodeToStatusReader) string {
	if policy := pod.Spec.PreemptionPolicy; policy != nil && *policy == v1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	nominated := pod.Status.NominatedNodeName
	if nominated == "" || nodes.Get(nominated).Code() == fwk.UnschedulableAndUnresolvable {
		return ""
	}
	node, err := e.handle.SnapshotSharedLister().NodeInfos().Get(nominated)
	if err != nil {
		return ""
	}
	for _, info := range node.GetPods() {
		if corev1helpers.PodPriority(info.GetPod()) < corev1helpers.PodPriority(pod) && isGoing(info.GetPod()) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

// isGoing says whether the pod is being deleted because of a preemption.
func isGoing(pod *v1.Pod) bool {
	if pod.DeletionTimestamp == nil {
		return false
	}
	i := slices.IndexFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.DisruptionTarget })
	return i >= 0 && pod.Status.Conditions[i].Status == v1.ConditionTrue && pod.Status.Conditions[i].Reason == v1.PodReasonPreemptionByScheduler
}

// candidates tries nodes from a random one on until enough are found, one of them within all budgets.
func (e *Evaluator) candidates(ctx context.Context, find *search, nodes []fwk.NodeInfo) ([]*Candidate, *diagnosis.NodeStatuses, error) {
	statuses := diagnosis.NewNodeStatuses()
	if len(nodes) == 0 {
		return nil, statuses, nil
	}
	enough := min(len(nodes), max(len(nodes)*e.minPercent/100, e.minNodes))
	offset := e.from(len(nodes))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var harmless, harmful []*Candidate
	var errs []error
	e.handle.Parallelizer().Until(ctx, len(nodes), func(i int) {
		node := nodes[(offset+i)%len(nodes)]
		o, name := find.on(ctx, node), node.Node().Name
		mu.Lock()
		defer mu.Unlock()
		switch {
		case o.status.Code() == fwk.Error:
			errs = append(errs, o.status.AsError())
			statuses.Set(name, o.status)
		case !o.status.IsSuccess():
			statuses.Set(name, o.status)
		case o.violations == 0:
			harmless = append(harmless, &Candidate{node: name, victims: o.victims})
		default:
			harmful = append(harmful, &Candidate{node: name, victims: o.victims, violations: int64(o.violations)})
		}
		if len(harmless) > 0 && len(harmless)+len(harmful) >= enough {
			cancel()
		}
	}, "DefaultPreemption")
	return append(harmless, harmful...), statuses, errors.Join(errs...)
}

// locality is a handle that can tell whether, to the plugins that filter in a cycle, nothing matters but the node in
// question and the pod's class.
type locality interface {
	OnlyNodeMatters(state fwk.CycleState, pod *v1.Pod) bool
}

// askExtenders lets extenders that take part in preemption drop candidates and change victims.
func (e *Evaluator) askExtenders(ctx context.Context, pod *v1.Pod, candidates []*Candidate) ([]*Candidate, error) {
	victims := make(map[string]*extenderv1.Victims, len(candidates))
	for _, c := range candidates {
		victims[c.node] = &extenderv1.Victims{Pods: c.victims, NumPDBViolations: c.violations}
	}
	asked := false
	for _, extender := range e.handle.Extenders() {
		if len(victims) == 0 || !extender.SupportsPreemption() || !extender.IsInterested(pod) {
			continue
		}
		answer, err := extender.ProcessPreemption(pod, victims, e.handle.SnapshotSharedLister().NodeInfos())
		if err != nil {
			if extender.IsIgnorable() {
				klog.FromContext(ctx).V(2).Info("Ignored failed extender", "extender", extender.Name(), "err", err)
				continue
			}
			return nil, err
		}
		for node, of := range answer {
			if of != nil && len(of.Pods) > 0 {
				continue
			}
			if !extender.IsIgnorable() {
				return nil, fmt.Errorf("expected at least one victim pod on node %q", node)
			}
			delete(answer, node)
		}
		victims, asked = answer, true
	}
	if !asked {
		return candidates, nil
	}
	candidates = candidates[:0:0]
	for node, of := range victims {
		candidates = append(candidates, &Candidate{node: node, victims: of.Pods, violations: of.NumPDBViolations})
	}
	return candidates, nil
}

// best picks the node that is hurt least: fewest budgets exceeded, then the lowest most important victim, the lowest
// sum of priorities, the fewest victims, and last the one whose most important victims started last.
func best(candidates []*Candidate) *Candidate {
	return slices.MinFunc(candidates, func(a, b *Candidate) int {
		return cmp.Or(
			cmp.Compare(a.violations, b.violations),
			cmp.Compare(corev1helpers.PodPriority(a.victims[0]), corev1helpers.PodPriority(b.victims[0])),
			cmp.Compare(a.prioritySum(), b.prioritySum()),
			cmp.Compare(len(a.victims), len(b.victims)),
			-a.earliestStart().Compare(b.earliestStart()),
		)
	})
}

// prioritySum lifts priorities above zero, so that fewer victims of negative priority count as less.
func (c *Candidate) prioritySum() int64 {
	var sum int64
	for _, victim := range c.victims {
		sum += int64(corev1helpers.PodPriority(victim)) + 1<<31
	}
	return sum
}

// earliestStart is when the first of the most important victims started.
func (c *Candidate) earliestStart() time.Time {
	highest := corev1helpers.PodPriority(c.victims[0])
	earliest := startOf(c.victims[0])
	for _, victim := range c.victims[1:] {
		priority, start := corev1helpers.PodPriority(victim), startOf(victim)
		if priority > highest || priority == highest && start.Before(earliest) {
			highest, earliest = priority, start
		}
	}
	return earliest
}
