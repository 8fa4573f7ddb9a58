// Package replicaset keeps as many pods as a ReplicaSet asks for. The loop knows its sets only through Source, so
// package replicationcontroller runs it too. https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/expectation"
	"github.com/plumbline/plumbline/components/controllers/ownership"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// burst bounds how many pods one turn creates or deletes.
const burst = 500

// New makes the ReplicaSet controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	return NewLoop("replicaset-controller", env, native{env}, workers)
}

// Loop scales the sets of one Source.
type Loop struct {
	name    string
	env     *controller.Env
	source  Source
	workers int

	sources  controller.Sources
	pods     cache.Indexer
	control  podcontrol.Control
	expected *expectation.Tracker[controller.Key]
	written  expectation.Written[controller.Key]
	queue    *controller.Queue[controller.Key]
}

// NewLoop makes a controller for the sets of source.
func NewLoop(name string, env *controller.Env, source Source, workers int) (*Loop, error) {
	pods := env.Informers.Core().V1().Pods().Informer()
	if err := ownership.Index(pods); err != nil {
		return nil, err
	}
	l := &Loop{
		name: name, env: env, source: source, workers: workers,
		pods:     pods.GetIndexer(),
		control:  podcontrol.Control{Client: env.Client, Recorder: env.Recorder},
		expected: expectation.New[controller.Key](env.Clock),
	}
	l.queue = controller.NewQueue(name, env.Clock, controller.DefaultBackoff, l.sync)
	changed := func(set *appsv1.ReplicaSet) { l.queue.Add(keyOf(set)) }
	source.Watch(&l.sources, controller.Handlers[*appsv1.ReplicaSet]{
		Add: changed,
		Update: func(old, set *appsv1.ReplicaSet) {
			if old.UID != set.UID {
				l.expected.Forget(keyOf(old))
			}
			changed(set)
		},
		Delete: func(set *appsv1.ReplicaSet) {
			l.expected.Forget(keyOf(set))
			changed(set)
		},
	})
	controller.Watch(&l.sources, pods, controller.Handlers[*corev1.Pod]{Add: l.podAdded, Update: l.podUpdated, Delete: l.podDeleted})
	return l, nil
}

// Name implements controller.Controller.
func (l *Loop) Name() string { return l.name }

// Run implements controller.Controller.
func (l *Loop) Run(ctx context.Context) error {
	if l.sources.WaitForSync(ctx) {
		l.queue.Run(ctx, l.workers)
	}
	return nil
}

func keyOf(object metav1.Object) controller.Key { return cache.MetaObjectToName(object) }

// ownerKey is the key of the set that controls the pod.
func (l *Loop) ownerKey(pod *corev1.Pod) (controller.Key, bool) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != l.source.Kind().Kind {
		return controller.Key{}, false
	}
	key := controller.Key{Namespace: pod.Namespace, Name: ref.Name}
	set, err := l.source.Get(key)
	return key, err == nil && set.UID == ref.UID
}

func (l *Loop) podAdded(pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		l.podDeleted(pod)
		return
	}
	if key, ok := l.ownerKey(pod); ok {
		l.expected.Created(key)
		l.queue.Add(key)
		return
	}
	l.offerOrphan(pod)
}

func (l *Loop) podUpdated(old, pod *corev1.Pod) {
	if old.ResourceVersion == pod.ResourceVersion {
		return
	}
	if pod.DeletionTimestamp != nil {
		l.podDeleted(pod)
		if old.UID != pod.UID {
			l.podDeleted(old)
		}
		return
	}
	before, hadOwner := l.ownerKey(old)
	after, hasOwner := l.ownerKey(pod)
	if hadOwner && (!hasOwner || before != after) {
		l.queue.Add(before)
	}
	if hasOwner {
		l.queue.Add(after)
		return
	}
	if hadOwner || !equality.Semantic.DeepEqual(old.Labels, pod.Labels) {
		l.offerOrphan(pod)
	}
}

func (l *Loop) podDeleted(pod *corev1.Pod) {
	if key, ok := l.ownerKey(pod); ok {
		l.expected.Deleted(key, pod.UID)
		l.queue.Add(key)
	}
}

// offerOrphan wakes every set that might adopt the pod.
func (l *Loop) offerOrphan(pod *corev1.Pod) {
	sets, _ := l.source.List(pod.Namespace) // A cache does not fail.
	for _, key := range ownership.Adopters(pod, sets, func(set *appsv1.ReplicaSet) *metav1.LabelSelector { return set.Spec.Selector }) {
		l.queue.Add(key)
	}
}

func (l *Loop) sync(ctx context.Context, key controller.Key) error {
	set, err := l.source.Get(key)
	if apierrors.IsNotFound(err) {
		l.expected.Forget(key)
		l.written.Forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	if l.written.Behind(key, set) {
		return nil
	}
	caughtUp := l.expected.Satisfied(key)
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil //nolint:nilerr // validation keeps such a set out; nothing to retry
	}
	active, terminating, err := l.claim(ctx, set, selector)
	if err != nil {
		return err
	}
	var scaleErr error
	if caughtUp && set.DeletionTimestamp == nil {
		scaleErr = l.scale(ctx, key, set, active)
	}
	now := l.env.Clock.Now()
	status, wait := statusOf(set, active, terminating, scaleErr, now)
	if !l.source.CountsTerminating() {
		status.TerminatingReplicas = nil
	}
	if err := l.writeStatus(ctx, set, status); err != nil {
		if !apierrors.IsNotFound(err) {
			return errors.Join(scaleErr, err)
		}
	}
	if wait > 0 {
		l.queue.AddAfter(key, wait)
	}
	return scaleErr
}

func (l *Loop) claim(ctx context.Context, set *appsv1.ReplicaSet, selector labels.Selector) (active, terminating []*corev1.Pod, err error) {
	candidates, err := ownership.Candidates[*corev1.Pod](l.pods, set)
	if err != nil {
		return nil, nil, err
	}
	alive := candidates[:0]
	for _, pod := range candidates {
		switch {
		case podstate.Active(pod):
			alive = append(alive, pod)
		case podstate.Terminating(pod) && metav1.IsControlledBy(pod, set):
			terminating = append(terminating, pod)
		}
	}
	claim := ownership.Claim[*corev1.Pod]{
		Owner: set, Kind: l.source.Kind(), Selector: selector,
		Live: func(ctx context.Context) (metav1.Object, error) { return l.source.Live(ctx, keyOf(set)) },
		Patch: func(ctx context.Context, pod *corev1.Pod, patch []byte) error {
			return l.control.Patch(ctx, pod, patch)
		},
	}
	active, err = claim.Resolve(ctx, alive)
	return active, terminating, err
}

// scale creates or deletes pods until there are as many as wanted.
func (l *Loop) scale(ctx context.Context, key controller.Key, set *appsv1.ReplicaSet, active []*corev1.Pod) error {
	owner := l.source.Object(set)
	missing := int(ptr.Deref(set.Spec.Replicas, 1)) - len(active)
	switch {
	case missing > 0:
		missing = min(missing, burst)
		l.expected.ExpectCreations(key, missing)
		ref := metav1.NewControllerRef(set, l.source.Kind())
		created, err := podcontrol.SlowStart(missing, func(int) error {
			_, err := l.control.Create(ctx, podcontrol.FromTemplate(&set.Spec.Template, owner, ref), owner)
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				// Nothing can be created any more and the set is about to go.
				l.expected.Created(key)
				return nil
			}
			return err
		})
		l.expected.CreatedMany(key, missing-created)
		return err
	case missing < 0:
		victims := l.victims(set, active, min(-missing, burst))
		for _, pod := range victims {
			l.expected.ExpectDeletions(key, pod.UID)
		}
		errs := podcontrol.Parallel(len(victims), func(i int) error {
			err := l.control.Delete(ctx, victims[i], owner)
			if err != nil {
				l.expected.Deleted(key, victims[i].UID)
			}
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
		if len(errs) > 0 {
			return errs[0]
		}
	}
	return nil
}

// victims picks the pods whose deletion loses least.
func (l *Loop) victims(set *appsv1.ReplicaSet, active []*corev1.Pod, count int) []*corev1.Pod {
	if count >= len(active) {
		return active
	}
	onNode := map[string]int{}
	for _, pod := range l.related(set) {
		if podstate.Active(pod) {
			onNode[pod.Spec.NodeName]++
		}
	}
	sorted := append([]*corev1.Pod(nil), active...)
	podstate.SortByLoss(sorted, func(pod *corev1.Pod) int { return onNode[pod.Spec.NodeName] }, l.env.Clock.Now())
	return sorted[:count]
}

// related returns the pods of all sets that have the same controller as set: a Deployment's pods, old and new.
func (l *Loop) related(set *appsv1.ReplicaSet) []*corev1.Pod {
	siblings := []*appsv1.ReplicaSet{set}
	if ref := metav1.GetControllerOfNoCopy(set); ref != nil {
		siblings = siblings[:0]
		sets, err := l.source.List(set.Namespace)
		if err != nil {
			return nil
		}
		for _, other := range sets {
			if theirs := metav1.GetControllerOfNoCopy(other); theirs != nil && theirs.UID == ref.UID {
				siblings = append(siblings, other)
			}
		}
	}
	var pods []*corev1.Pod
	for _, sibling := range siblings {
		owned, err := ownership.Owned[*corev1.Pod](l.pods, sibling.UID)
		if err == nil {
			pods = append(pods, owned...)
		}
	}
	return pods
}

// statusOf counts; wait is when the next ready pod becomes available, 0 if none will.
func statusOf(set *appsv1.ReplicaSet, active, terminating []*corev1.Pod, scaleErr error, now time.Time) (status appsv1.ReplicaSetStatus, wait time.Duration) {
	status = *set.Status.DeepCopy()
	status.Replicas = int32(len(active))
	status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0
	status.TerminatingReplicas = ptr.To(int32(len(terminating)))
	status.ObservedGeneration = set.Generation
	template := labels.Set(set.Spec.Template.Labels).AsSelectorPreValidated()
	minReady := time.Duration(set.Spec.MinReadySeconds) * time.Second
	for _, pod := range active {
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		left, ready := podstate.AvailableIn(pod, minReady, now)
		if !ready {
			continue
		}
		status.ReadyReplicas++
		if left == 0 {
			status.AvailableReplicas++
		} else if wait == 0 || left < wait {
			wait = left
		}
	}
	setFailure(&status, int(ptr.Deref(set.Spec.Replicas, 1))-len(active), scaleErr, now)
	return status, wait
}

// setFailure sets the ReplicaFailure condition, or removes it once scaling works again.
func setFailure(status *appsv1.ReplicaSetStatus, missing int, scaleErr error, now time.Time) {
	var kept []appsv1.ReplicaSetCondition
	for _, condition := range status.Conditions {
		if condition.Type == appsv1.ReplicaSetReplicaFailure {
			if scaleErr != nil {
				return
			}
			continue
		}
		kept = append(kept, condition)
	}
	if scaleErr != nil {
		reason := podcontrol.FailedCreate
		if missing < 0 {
			reason = podcontrol.FailedDelete
		}
		kept = append(kept, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			Reason: reason, Message: scaleErr.Error(), LastTransitionTime: metav1.NewTime(now),
		})
	}
	status.Conditions = kept
}

// writeStatus writes the status if it differs. The generation observed is the one the counts were made for, even where
// a conflict makes the write start from a newer object.
func (l *Loop) writeStatus(ctx context.Context, set *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	updated := set.DeepCopy()
	updated.Status = status
	result, err := l.source.UpdateStatus(ctx, updated)
	if err != nil {
		return fmt.Errorf("update status: %w", err)
	}
	l.written.Note(keyOf(set), result)
	return nil
}
