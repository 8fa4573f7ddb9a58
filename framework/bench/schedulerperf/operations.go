package schedulerperf

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/plumbline/plumbline/framework/bench/workload"
)

// do does one operation.
func (s *session) do(o workload.Operation) error {
	switch a := o.Action.(type) {
	case *workload.CreateNodes:
		return s.createNodes(o, a)
	case *workload.CreateNamespaces:
		return s.createNamespaces(a)
	case *workload.CreatePods:
		return s.createPods(a, namespaceOf(o, a.Namespace))
	case *workload.CreatePodSets:
		for i := range a.Count {
			if err := s.createPods(&a.CreatePods, fmt.Sprintf("%s-%d", a.NamespacePrefix, i)); err != nil {
				return err
			}
		}
		return nil
	case *workload.CreatePodGroups:
		return s.createAny(a.TemplatePath, a.Namespace, a.TemplateParams, a.Count)
	case *workload.CreateResourceClaims:
		return s.createAny(a.TemplatePath, a.Namespace, nil, a.Count)
	case *workload.CreateAny:
		return s.createAny(a.TemplatePath, a.Namespace, a.TemplateParams, countOf(a.Count))
	case *workload.UpdateAny:
		return s.updateAny(a)
	case *workload.DeletePods:
		return s.deletePods(a)
	case *workload.Churn:
		return s.churn(a, namespaceOf(o, a.Namespace))
	case *workload.Barrier:
		return s.barrier(a)
	case *workload.Sleep:
		return s.sleep(a.Duration.Duration)
	case *workload.StartCollectingMetrics:
		return s.start(a.Name, a.Namespaces, a.LabelSelector)
	case *workload.StopCollectingMetrics:
		return s.stop()
	}
	return fmt.Errorf("%T is not an operation that can be done", o.Action)
}

// namespaceOf is the namespace that an operation names, or one of its own.
func namespaceOf(o workload.Operation, named string) string {
	if named != "" {
		return named
	}
	return fmt.Sprintf("namespace-%d", o.Index)
}

func countOf(count *int) int {
	if count == nil {
		return 1
	}
	return *count
}

// createPods creates pods, measures them where that is asked for, and waits for them
// unless told otherwise.
func (s *session) createPods(a *workload.CreatePods, namespace string) error {
	if err := s.ensureNamespace(namespace); err != nil {
		return err
	}
	plan, err := s.planPods(a, namespace)
	if err != nil {
		return err
	}
	pods := &batch{}
	if a.CollectMetrics && s.PodsFirst {
		s.say("%d pods before the scheduler is started", a.Count)
		if err := s.stopScheduler(); err != nil {
			return err
		}
		if err := plan.create(0, a.Count, pods); err != nil {
			return err
		}
	}
	if a.CollectMetrics {
		if err := s.start("", []string{namespace}, nil); err != nil {
			return err
		}
	}
	switch {
	case a.CollectMetrics && s.PodsFirst:
		if err := s.startScheduler(); err != nil {
			return err
		}
		if err := s.serve(); err != nil {
			return err
		}
	case a.SteadyState:
		if err := s.steady(a, plan); err != nil {
			return err
		}
	default:
		if err := plan.create(0, a.Count, pods); err != nil {
			return err
		}
	}
	switch {
	case a.SkipWaitToCompletion:
		s.batches[namespace] = append(s.batches[namespace], pods)
	case !a.SteadyState:
		if err := s.pods.await(s.ctx, []*batch{pods}, nil, workload.Scheduled, s.Patience); err != nil {
			return err
		}
	}
	if a.CollectMetrics {
		return s.stop()
	}
	return nil
}

// steady keeps a number of pods waiting for a while: each that is bound is deleted, and
// another one created.
func (s *session) steady(a *workload.CreatePods, plan *podPlan) error {
	const ample = 1 << 16 // the watch must not wait for us
	bound := make(chan string, ample)
	s.pods.whenBound(func(p *pod) {
		if p.namespace == plan.namespace {
			select {
			case bound <- p.name:
			default:
			}
		}
	})
	defer s.pods.whenBound(nil)
	pods := &batch{}
	if err := plan.create(0, a.Count, pods); err != nil {
		return err
	}
	end := time.NewTimer(a.Duration.Duration)
	defer end.Stop()
	patience := time.NewTimer(s.Patience)
	defer patience.Stop()
	for next := a.Count; ; next++ {
		select {
		case <-end.C:
			if next == a.Count {
				return outcomef("no pod was bound in %s", a.Duration.Duration)
			}
			return nil
		case <-patience.C:
			return outcomef("no progress for %s: %d pods were bound until then", s.Patience, next-a.Count)
		case <-s.ctx.Done():
			return s.ctx.Err()
		case name := <-bound:
			patience.Reset(s.Patience)
			if err := s.deletePod(plan.namespace, name, 0); err != nil {
				return err
			}
			if err := plan.create(next, next+1, pods); err != nil {
				return err
			}
		}
	}
}

// barrier waits for pods that were not waited for.
func (s *session) barrier(a *workload.Barrier) error {
	namespaces := a.Namespaces
	if len(namespaces) == 0 {
		namespaces = slices.Sorted(maps.Keys(s.batches))
	}
	var pods []*batch
	for _, namespace := range namespaces {
		pods = append(pods, s.batches[namespace]...)
	}
	stage := a.StageRequirement
	if stage == "" {
		stage = workload.Scheduled
	}
	if err := s.pods.await(s.ctx, pods, a.LabelSelector, stage, s.Patience); err != nil {
		return err
	}
	if stage == workload.Scheduled && len(a.LabelSelector) == 0 {
		for _, namespace := range namespaces {
			delete(s.batches, namespace)
		}
	}
	return nil
}
