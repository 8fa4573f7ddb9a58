package preemption

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// byImportance orders pods: higher priority first, then those that run longer.
func byImportance(a, b fwk.PodInfo) int {
	pa, pb := corev1helpers.PodPriority(a.GetPod()), corev1helpers.PodPriority(b.GetPod())
	return cmp.Or(cmp.Compare(pb, pa), startOf(a.GetPod()).Compare(startOf(b.GetPod())))
}

// startOf is when a pod started; one that has not is as new as can be.
func startOf(pod *v1.Pod) time.Time {
	if pod.Status.StartTime != nil {
		return pod.Status.StartTime.Time
	}
	return time.Unix(1<<40, 0)
}

// search is the search of one preemptor for a node.
type search struct {
	handle    fwk.Handle
	preemptor *v1.Pod
	state     fwk.CycleState
	budgets   []budget
	// known holds earlier outcomes if nothing but the node matters to the preemptor, else it is nil.
	known *outcomes
}

// outcome is whom a preemption would evict, or why it would be of no use.
type outcome struct {
	victims    []*v1.Pod
	violations int
	status     *fwk.Status
}

// on finds out what a preemption on the node would come to.
func (s *search) on(ctx context.Context, node fwk.NodeInfo) outcome {
	if s.known == nil {
		o, _ := s.tryOn(ctx, node)
		return o
	}
	rivals := s.rivals(node)
	if o, found := s.known.get(node, rivals); found {
		return o
	}
	o, budgeted := s.tryOn(ctx, node)
	// What budgets allow changes while the node does not; and nominations may have changed meanwhile.
	if !budgeted && o.status.Code() != fwk.Error && slices.Equal(rivals, s.rivals(node)) {
		s.known.put(node, rivals, o)
	}
	return o
}

func (s *search) rivals(node fwk.NodeInfo) []fwk.PodInfo {
	return equivalence.Rivals(s.preemptor, s.handle.NominatedPodsForNode(node.Node().Name))
}

// tryOn runs the preemption on a copy of the node. It tells whether any budget has a say.
func (s *search) tryOn(ctx context.Context, node fwk.NodeInfo) (o outcome, budgeted bool) {
	var potential []fwk.PodInfo
	for _, info := range node.GetPods() {
		if corev1helpers.PodPriority(info.GetPod()) < corev1helpers.PodPriority(s.preemptor) {
			potential = append(potential, info)
		}
	}
	if len(potential) == 0 {
		return outcome{status: fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "No preemption victims found for incoming pod")}, false
	}
	slices.SortStableFunc(potential, byImportance)
	protected, rest, budgeted := splitByBudget(potential, s.budgets)
	try := &dryRun{handle: s.handle, preemptor: s.preemptor, state: s.state, node: node.Snapshot()}
	if s.known == nil {
		// Plugins to which other nodes matter count pods in the state.
		try.state = s.state.Clone()
	}
	return try.evict(ctx, protected, rest), budgeted
}

// dryRun tries a preemption on a copy of a node.
type dryRun struct {
	handle    fwk.Handle
	preemptor *v1.Pod
	state     fwk.CycleState
	node      fwk.NodeInfo
}

// evict finds the least important pods whose absence lets the preemptor fit: all less important pods go, then as many as
// possible come back, those protected by a disruption budget first and more important ones before others. Both lists are
// ordered by importance.
// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
func (d *dryRun) evict(ctx context.Context, protected, rest []fwk.PodInfo) outcome {
	all := slices.Concat(protected, rest)
	for _, info := range all {
		if err := d.remove(ctx, info); err != nil {
			return outcome{status: fwk.AsStatus(err)}
		}
	}
	if status := d.fits(ctx); !status.IsSuccess() {
		return outcome{status: status}
	}
	var chosen []fwk.PodInfo
	violations := 0
	for i, info := range all {
		if err := d.add(ctx, info); err != nil {
			return outcome{status: fwk.AsStatus(err)}
		}
		if d.fits(ctx).IsSuccess() {
			continue
		}
		if err := d.remove(ctx, info); err != nil {
			return outcome{status: fwk.AsStatus(err)}
		}
		chosen = append(chosen, info)
		if i < len(protected) {
			violations++
		}
	}
	if len(chosen) == 0 {
		return outcome{status: fwk.AsStatus(fmt.Errorf("expected at least one victim pod on node %q", d.node.Node().Name))}
	}
	slices.SortStableFunc(chosen, byImportance)
	victims := make([]*v1.Pod, len(chosen))
	for i, info := range chosen {
		victims[i] = info.GetPod()
	}
	return outcome{victims: victims, violations: violations}
}

func (d *dryRun) fits(ctx context.Context) *fwk.Status {
	return d.handle.RunFilterPluginsWithNominatedPods(ctx, d.state, d.preemptor, d.node)
}

func (d *dryRun) remove(ctx context.Context, info fwk.PodInfo) error {
	if err := d.node.RemovePod(klog.FromContext(ctx), info.GetPod()); err != nil {
		return err
	}
	return d.handle.RunPreFilterExtensionRemovePod(ctx, d.state, d.preemptor, info, d.node).AsError()
}

func (d *dryRun) add(ctx context.Context, info fwk.PodInfo) error {
	d.node.AddPodInfo(info)
	return d.handle.RunPreFilterExtensionAddPod(ctx, d.state, d.preemptor, info, d.node).AsError()
}

// budget is a disruption budget with its selector parsed.
type budget struct {
	*policyv1.PodDisruptionBudget
	selector labels.Selector
}

// parse leaves out budgets that select nothing.
func parse(list []*policyv1.PodDisruptionBudget) []budget {
	var usable []budget
	for _, b := range list {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && !selector.Empty() {
			usable = append(usable, budget{b, selector})
		}
	}
	return usable
}

// splitByBudget tells the pods whose eviction, in this order, would exceed a disruption budget from the others, and
// whether any budget is about any of the pods.
func splitByBudget(pods []fwk.PodInfo, budgets []budget) (protected, rest []fwk.PodInfo, budgeted bool) {
	if len(budgets) == 0 {
		return nil, pods, false
	}
	left := make([]int32, len(budgets))
	for i := range budgets {
		left[i] = budgets[i].Status.DisruptionsAllowed
	}
	for _, info := range pods {
		pod, exceeded := info.GetPod(), false
		for i := range budgets {
			b := &budgets[i]
			if exceeded || len(pod.Labels) == 0 || b.Namespace != pod.Namespace || !b.selector.Matches(labels.Set(pod.Labels)) {
				continue
			}
			budgeted = true
			// The API server has already counted a pod listed here against the budget.
			if _, counted := b.Status.DisruptedPods[pod.Name]; counted {
				continue
			}
			left[i]--
			exceeded = left[i] < 0
		}
		if exceeded {
			protected = append(protected, info)
		} else {
			rest = append(rest, info)
		}
	}
	return protected, rest, budgeted
}
