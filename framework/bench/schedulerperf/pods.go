package schedulerperf

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/plumbline/plumbline/framework/bench/workload"
)

// pod is what is known about one pod. Times are those at which this process heard of it.
type pod struct {
	namespace, name string
	labels          labels.Set
	created, bound  time.Time
	attempted, gone bool
	batch           *batch
}

// settled pods are no longer waited for: a pod that was deleted will not be bound.
func (p *pod) settled(stage string) bool {
	return !p.bound.IsZero() || p.gone || stage == workload.Attempted && p.attempted
}

// pods follows every pod of the cluster by one watch.
type pods struct {
	fail    context.CancelCauseFunc
	changed func(pod *corev1.Pod, gone bool)
	ended   chan struct{}

	mu   sync.Mutex
	all  map[types.UID]*pod
	wake map[chan struct{}]bool
	// steps counts what got on; a wait in which it stands still is in vain.
	steps int
	// collection is told of pods that are bound, and steady too, while it is not nil.
	collection *collection
	steady     func(*pod)
}

// watchPods follows the pods of a cluster that has none yet.
func watchPods(ctx context.Context, client kubernetes.Interface, fail context.CancelCauseFunc, changed func(*corev1.Pod, bool)) (*pods, error) {
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return client.CoreV1().Pods("").Watch(ctx, options)
		},
	})
	if err != nil {
		return nil, err
	}
	p := &pods{fail: fail, changed: changed, ended: make(chan struct{}), all: map[types.UID]*pod{}, wake: map[chan struct{}]bool{}}
	go p.follow(ctx, watcher)
	return p, nil
}

func (p *pods) follow(ctx context.Context, watcher watch.Interface) {
	defer close(p.ended)
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		now := time.Now()
		switch object := event.Object.(type) {
		case *corev1.Pod:
			p.changed(object, event.Type == watch.Deleted)
			p.see(object, event.Type == watch.Deleted, now)
		case runtime.Object:
			if event.Type == watch.Error && ctx.Err() == nil {
				p.fail(fmt.Errorf("the watch of the pods broke off: %v", object))
				return
			}
		}
	}
}

// wait returns when the watch, whose context has ended, is closed.
func (p *pods) wait() { <-p.ended }

func (p *pods) see(object *corev1.Pod, gone bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.of(object)
	if known.created.IsZero() {
		known.created = now
	}
	was := *known
	if object.Spec.NodeName != "" && known.bound.IsZero() {
		known.bound = now
		if p.collection != nil && p.collection.counts(known) {
			p.collection.add(known)
		}
		if p.steady != nil {
			p.steady(known)
		}
	}
	known.attempted = known.attempted || hasBeenTried(object)
	known.gone = known.gone || gone
	if was.bound.Equal(known.bound) && was.attempted == known.attempted && was.gone == known.gone {
		return
	}
	p.steps++
	if known.batch != nil {
		known.batch.count(&was, -1)
		known.batch.count(known, 1)
	}
	for waiting := range p.wake {
		select {
		case waiting <- struct{}{}:
		default:
		}
	}
	if known.gone && known.batch != nil {
		delete(p.all, object.UID)
	}
}

// of finds or makes the record of a pod; the caller holds the lock.
func (p *pods) of(object *corev1.Pod) *pod {
	known := p.all[object.UID]
	if known == nil {
		known = &pod{namespace: object.Namespace, name: object.Name, labels: object.Labels}
		p.all[object.UID] = known
	}
	return known
}

// hasBeenTried reports whether the scheduler has said something about a pod; one that
// is held back by gates has been told so by the API server.
func hasBeenTried(object *corev1.Pod) bool {
	for _, condition := range object.Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return true
		}
	}
	return false
}

// batch is the pods of one operation. It is covered by the lock of pods.
type batch struct {
	members []*pod
	// How many there are, have been tried, and are bound: those that are gone count as both.
	total, tried, bound int
}

func (b *batch) count(p *pod, step int) {
	b.total += step
	if p.settled(workload.Attempted) {
		b.tried += step
	}
	if p.settled(workload.Scheduled) {
		b.bound += step
	}
}

// join makes a pod that was created a member of a batch.
func (p *pods) join(b *batch, object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.of(object)
	known.batch = b
	b.members = append(b.members, known)
	b.count(known, 1)
}

// find lists the pods of a namespace that are there and have the labels.
func (p *pods) find(namespace string, selector map[string]string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for _, known := range p.all {
		if known.namespace == namespace && !known.gone && labels.SelectorFromSet(selector).Matches(known.labels) {
			names = append(names, known.name)
		}
	}
	return names
}

// await returns when all pods of some batches that have the labels have reached a
// stage. It gives up when none gets on for as long as patience lasts.
func (p *pods) await(ctx context.Context, batches []*batch, selector map[string]string, stage string, patience time.Duration) error {
	waiting := make(chan struct{}, 1)
	p.mu.Lock()
	p.wake[waiting] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.wake, waiting)
		p.mu.Unlock()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for last := -1; ; {
		done, total, steps := p.reached(batches, selector, stage)
		if done >= total {
			return nil
		}
		if steps != last {
			last = steps
			timer.Reset(patience)
		}
		select {
		case <-waiting:
		case <-timer.C:
			return outcomef("no progress for %s: %d of %d pods %s", patience, done, total, map[string]string{workload.Attempted: "tried", workload.Scheduled: "bound"}[stage])
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reached counts the pods that have reached a stage.
func (p *pods) reached(batches []*batch, selector map[string]string, stage string) (done, total, steps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range batches {
		if len(selector) == 0 {
			total += b.total
			if stage == workload.Attempted {
				done += b.tried
			} else {
				done += b.bound
			}
			continue
		}
		for _, member := range b.members {
			if !labels.SelectorFromSet(selector).Matches(member.labels) {
				continue
			}
			total++
			if member.settled(stage) {
				done++
			}
		}
	}
	return done, total, p.steps
}

// collect has a collection told of what is bound from now on, or nobody.
func (p *pods) collect(c *collection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.collection = c
}

// whenBound has a function called with each pod that is bound, under the lock; nil is nobody.
func (p *pods) whenBound(f func(*pod)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steady = f
}
