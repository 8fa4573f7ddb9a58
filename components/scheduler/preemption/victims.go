package preemption

import (
	"cmp"
	"context"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
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

// dryRun tries a preemption on a copy of a node.
type dryRun struct {
	handle    fwk.Handle
	preemptor *v1.Pod
	state     fwk.CycleState
	node      fwk.NodeInfo
}

// victims finds the least important pods whose absence lets the preemptor fit: all less important pods go, then as
// many as possible come back, those protected by a disruption budget first and more important ones before others.
// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
func (d *dryRun) victims(ctx context.Context, budgets []*policyv1.PodDisruptionBudget) (victims []*v1.Pod, violations int, status *fwk.Status) {
	var potential []fwk.PodInfo
	for _, info := range d.node.GetPods() {
		if corev1helpers.PodPriority(info.GetPod()) < corev1helpers.PodPriority(d.preemptor) {
			potential = append(potential, info)
		}
	}
	if len(potential) == 0 {
		return nil, 0, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "No preemption victims found for incoming pod")
	}
	for _, info := range potential {
		if err := d.remove(ctx, info); err != nil {
			return nil, 0, fwk.AsStatus(err)
		}
	}
	if status := d.fits(ctx); !status.IsSuccess() {
		return nil, 0, status
	}
	slices.SortStableFunc(potential, byImportance)
	protected, rest := splitByBudget(potential, budgets)
	var chosen []fwk.PodInfo
	for i, info := range append(protected, rest...) {
		if err := d.add(ctx, info); err != nil {
			return nil, 0, fwk.AsStatus(err)
		}
		if d.fits(ctx).IsSuccess() {
			continue
		}
		if err := d.remove(ctx, info); err != nil {
			return nil, 0, fwk.AsStatus(err)
		}
		chosen = append(chosen, info)
		if i < len(protected) {
			violations++
		}
	}
	slices.SortStableFunc(chosen, byImportance)
	for _, info := range chosen {
		victims = append(victims, info.GetPod())
	}
	return victims, violations, nil
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

// splitByBudget tells the pods whose eviction, in this order, would exceed a disruption budget from the others.
func splitByBudget(pods []fwk.PodInfo, budgets []*policyv1.PodDisruptionBudget) (protected, rest []fwk.PodInfo) {
	type budget struct {
		*policyv1.PodDisruptionBudget
		selector labels.Selector
		left     int32
	}
	var usable []*budget
	for _, b := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && !selector.Empty() {
			usable = append(usable, &budget{b, selector, b.Status.DisruptionsAllowed})
		}
	}
	for _, info := range pods {
		pod, exceeded := info.GetPod(), false
		for _, b := range usable {
			if exceeded || len(pod.Labels) == 0 || b.Namespace != pod.Namespace || !b.selector.Matches(labels.Set(pod.Labels)) {
				continue
			}
			// The API server has already counted a pod listed here against the budget.
			if _, counted := b.Status.DisruptedPods[pod.Name]; counted {
				continue
			}
			b.left--
			exceeded = b.left < 0
		}
		if exceeded {
			protected = append(protected, info)
		} else {
			rest = append(rest, info)
		}
	}
	return protected, rest
}
