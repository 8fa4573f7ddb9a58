package cycle

import (
	"context"
	"errors"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/diagnosis"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/plugins/defaultbinder"
	"github.com/plumbline/plumbline/components/scheduler/podstatus"
)

// reserve counts the pod on its node, so that the next cycle knows, and asks Reserve and Permit plugins.
func (s *Scheduler) reserve(ctx context.Context, a *attempt) *fwk.Status {
	assumed := *a.pod.GetPod()
	assumed.Spec.NodeName = a.node
	a.assumed = &assumed
	if err := s.Cache.AssumePod(a.pod.WithPod(a.assumed)); err != nil {
		return fwk.AsStatus(err)
	}
	s.Queue.DeleteNominatedPodIfExists(a.assumed)
	if status := a.profile.RunReservePluginsReserve(ctx, a.state, a.assumed, a.node); !status.IsSuccess() {
		s.unreserve(ctx, a)
		return a.explain(status)
	}
	timeouts, status := a.profile.RunPermitPlugins(ctx, a.state, a.assumed, a.node)
	switch {
	case status.IsWait():
		a.profile.AddWaitingPod(a.assumed, timeouts)
	case !status.IsSuccess():
		s.unreserve(ctx, a)
		return a.explain(status)
	}
	return nil
}

// explain words a rejection after a node was chosen: of one node, that one does not do.
func (a *attempt) explain(status *fwk.Status) *fwk.Status {
	if !status.IsRejected() {
		return status
	}
	d := diagnosis.New()
	d.Nodes.Set(a.node, status)
	d.AddPlugin(status)
	return fwk.NewStatus(status.Code()).WithError(&diagnosis.FitError{Pod: a.pod.GetPod(), NumNodes: 1, Diagnosis: d})
}

func (s *Scheduler) unreserve(ctx context.Context, a *attempt) {
	a.profile.RunReservePluginsUnreserve(ctx, a.state, a.assumed, a.node)
	if err := s.Cache.ForgetPod(a.assumed); err != nil {
		klog.FromContext(ctx).V(2).Info("Pod was no longer assumed", "pod", klog.KObj(a.assumed), "err", err)
	}
}

// bind waits for permission, prepares and binds. It runs beside later scheduling cycles.
func (s *Scheduler) bind(ctx context.Context, a *attempt) *fwk.Status {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !a.work.IsSuccess() && !a.work.IsSkip() {
		return a.work
	}
	if a.work.IsSuccess() || a.profile.GetWaitingPod(a.assumed.UID) != nil {
		// Until bound, which may take long, the nomination tells others where the pod is headed.
		if err := s.nominate(ctx, a); err != nil {
			klog.FromContext(ctx).Error(err, "Failed to update the nominated node name", "pod", klog.KObj(a.assumed))
		}
	}
	if status := a.profile.WaitOnPermit(ctx, a.assumed); !status.IsSuccess() {
		return a.explain(status)
	}
	// From here on failures are errors, for which no event is waited.
	s.Queue.Done(a.assumed.UID)
	if a.work.IsSuccess() {
		a.profile.AddPodInPreBind(a.assumed.UID, cancel)
		defer a.profile.RemovePodInPreBind(a.assumed.UID)
		if status := a.profile.RunPreBindPlugins(ctx, a.state, a.assumed, a.node); !status.IsSuccess() {
			return status
		}
		if !a.profile.GetPodInPreBind(a.assumed.UID).MarkPrebound() {
			return fwk.AsStatus(context.Cause(ctx))
		}
	}
	if bound, err := s.bindByExtender(ctx, a); bound || err != nil {
		if err != nil {
			return fwk.AsStatus(err)
		}
	} else if status := a.profile.RunBindPlugins(ctx, a.state, a.assumed, a.node); !status.IsSuccess() {
		return status
	}
	s.succeeded(ctx, a)
	return nil
}

func (s *Scheduler) nominate(ctx context.Context, a *attempt) error {
	after := a.assumed.Status.DeepCopy()
	after.NominatedNodeName = a.node
	return podstatus.Patch(ctx, s.Client, a.assumed, after)
}

func (s *Scheduler) bindByExtender(ctx context.Context, a *attempt) (bool, error) {
	for _, extender := range s.Extenders {
		if !extender.IsBinder() || !extender.IsInterested(a.assumed) {
			continue
		}
		err := extender.Bind(defaultbinder.Binding(a.assumed, a.node))
		if err != nil && extender.IsIgnorable() {
			klog.FromContext(ctx).Info("Ignored failed extender", "extender", extender.Name(), "err", err)
			continue
		}
		return true, err
	}
	return false, nil
}

func (s *Scheduler) succeeded(ctx context.Context, a *attempt) {
	logger := klog.FromContext(ctx)
	logger.V(2).Info("Successfully bound pod to node", "pod", klog.KObj(a.assumed), "node", a.node)
	a.profile.EventRecorder().WithLogger(logger).Eventf(a.assumed, nil, v1.EventTypeNormal, "Scheduled", "Binding",
		"Successfully assigned %v/%v to %v", a.assumed.Namespace, a.assumed.Name, a.node)
	s.Metrics.Attempt(a.profile.ProfileName(), metrics.Scheduled, a.start)
	s.Metrics.Bound(a.pod.GetAttempts(), *a.pod.GetInitialAttemptTimestamp())
	a.profile.RunPostBindPlugins(ctx, a.state, a.assumed, a.node)
}

// failBinding gives the node's room back and returns the pod to the queue.
func (s *Scheduler) failBinding(ctx context.Context, a *attempt, status *fwk.Status) {
	s.unreserve(ctx, a)
	// What the pod held is free again, as if it had been deleted.
	freed := clusterevent.Event(fwk.AssignedPod, fwk.Delete)
	if status.IsRejected() {
		// Afterwards, and not for the pod itself: its own leaving does not make it fit.
		defer s.Queue.Move(freed, a.assumed, nil, func(pod *v1.Pod) bool { return pod.UID != a.assumed.UID })
	} else {
		s.Queue.Move(freed, a.assumed, nil, nil)
	}
	s.fail(ctx, a, status, denominate)
}

// fail returns a pod to the queue and tells its owner why.
func (s *Scheduler) fail(ctx context.Context, a *attempt, status *fwk.Status, nominating *fwk.NominatingInfo) {
	logger := klog.FromContext(ctx)
	reason, result := v1.PodReasonSchedulerError, metrics.Error
	if status.IsRejected() {
		reason, result = v1.PodReasonUnschedulable, metrics.Unschedulable
	}
	s.Metrics.Attempt(a.profile.ProfileName(), result, a.start)
	err := status.AsError()
	var fit *diagnosis.FitError
	switch {
	case errors.As(err, &fit):
		a.pod.Unschedulable, a.pod.Pending = fit.Diagnosis.Unschedulable, fit.Diagnosis.Pending
		logger.V(2).Info("Unable to schedule pod; no fit; waiting", "pod", klog.KObj(a.pod.GetPod()), "err", err)
	case !errors.Is(err, errNoNodes):
		logger.Error(err, "Error scheduling pod; retrying", "pod", klog.KObj(a.pod.GetPod()))
	}
	pod, gone := s.giveBack(logger, a)
	if gone {
		return
	}
	s.Queue.AddNominatedPod(logger, a.pod.PodInfo, nominating)
	message := err.Error()
	a.profile.EventRecorder().WithLogger(logger).Eventf(pod, nil, v1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", truncate(message))
	after := pod.Status.DeepCopy()
	podstatus.SetCondition(after, v1.PodCondition{
		Type:               v1.PodScheduled,
		ObservedGeneration: pod.Generation,
		Status:             v1.ConditionFalse,
		Reason:             reason,
		Message:            message,
	})
	if nominating.Mode() == fwk.ModeOverride {
		after.NominatedNodeName = nominating.NominatedNodeName
	}
	if err := podstatus.Patch(ctx, s.Client, pod, after); err != nil {
		logger.Error(err, "Error updating pod", "pod", klog.KObj(pod))
	}
}
