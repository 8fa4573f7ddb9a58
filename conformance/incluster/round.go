package incluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/conformance/runner"
)

// round makes one Job, follows its pods to their ends, and says why those that failed
// did.
func (r *run) round(ctx context.Context, name string, o order) error {
	ctx, cancel := context.WithCancelCause(ctx)
	f := &follower{run: r, cancel: cancel, pods: map[string]*followed{}, ended: make(chan struct{}), ordered: map[string]bool{}}
	defer f.logs.Wait() // after the last pod was seen, and the logs were let go
	defer cancel(nil)
	for _, item := range o.Items {
		f.ordered[item.Behaviour] = true
	}
	stop, err := f.watch(ctx, name)
	if err != nil {
		return err
	}
	defer stop()
	carried, err := orderMap(name, o)
	if err != nil {
		return err
	}
	if _, err := r.client.CoreV1().ConfigMaps(namespace).Create(ctx, carried, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := r.client.BatchV1().Jobs(namespace).Create(ctx, workingJob(name, r.Image, o.Shards), metav1.CreateOptions{}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.ended:
	}
	// Of the last pods it may not have been seen yet that they ran, or ended.
	pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		f.sawPod(ctx, &pods.Items[i], false)
	}
	f.logs.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return f.failures()
}

// follower hears what the pods of a Job tell.
type follower struct {
	run    *run
	cancel context.CancelCauseFunc
	// ordered are the behaviours of the round.
	ordered map[string]bool
	ended   chan struct{}
	logs    sync.WaitGroup

	mu   sync.Mutex
	pods map[string]*followed
	over bool
}

// followed is what is known of a pod.
type followed struct {
	name string
	// over is closed when its container has ended, or the pod is gone.
	over    chan struct{}
	closed  bool
	reading bool
	failure string
	waits   string
}

// watch watches a Job and its pods until it is stopped.
func (f *follower) watch(ctx context.Context, job string) (stop func(), err error) {
	watching, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(f.run.client, 0, informers.WithNamespace(namespace))
	stop = func() {
		cancel()
		factory.Shutdown()
	}
	saw := func(obj any, gone bool) {
		if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = unknown.Obj
		}
		switch o := obj.(type) {
		case *corev1.Pod:
			if o.Labels[batchv1.JobNameLabel] == job {
				f.sawPod(ctx, o, gone)
			}
		case *batchv1.Job:
			if o.Name == job {
				f.sawJob(o, gone)
			}
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { saw(obj, false) },
		UpdateFunc: func(_, obj any) { saw(obj, false) },
		DeleteFunc: func(obj any) { saw(obj, true) },
	}
	for _, informer := range []cache.SharedIndexInformer{factory.Core().V1().Pods().Informer(), factory.Batch().V1().Jobs().Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			stop()
			return nil, err
		}
	}
	factory.Start(watching.Done())
	return stop, nil
}

func (f *follower) sawJob(job *batchv1.Job, gone bool) {
	done := gone
	for _, c := range job.Status.Conditions {
		done = done || c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if done && !f.over {
		f.over = true
		close(f.ended)
	}
}

func (f *follower) sawPod(ctx context.Context, pod *corev1.Pod, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pods[string(pod.UID)]
	if p == nil {
		p = &followed{name: pod.Name, over: make(chan struct{})}
		f.pods[string(pod.UID)] = p
	}
	var state corev1.ContainerState
	if len(pod.Status.ContainerStatuses) > 0 {
		state = pod.Status.ContainerStatuses[0].State
	}
	over := gone || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
	if over && !p.closed {
		p.closed = true
		close(p.over)
	}
	switch {
	case state.Terminated != nil && state.Terminated.ExitCode != 0:
		p.failure = strings.TrimSpace(state.Terminated.Reason + " " + state.Terminated.Message)
	case pod.Status.Phase == corev1.PodFailed && state.Terminated == nil:
		p.failure = strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)
	case gone && state.Terminated == nil:
		p.failure = "it was deleted"
	}
	if waits := waiting(pod); waits != p.waits {
		if p.waits = waits; waits != "" {
			f.run.tell(runner.Event{Note: pod.Name + ": " + waits})
		}
	}
	if !p.reading && (state.Running != nil || state.Terminated != nil) {
		p.reading = true
		f.logs.Go(func() { f.follow(ctx, p) })
	}
}

func (p *followed) isOver() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// waiting says what keeps a pod from starting, if it is more than a moment.
func waiting(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Message != "" {
			return w.Reason + ": " + w.Message
		}
	}
	return ""
}

// follow reads a pod's log to its end, from the beginning again when the connection
// breaks.
func (f *follower) follow(ctx context.Context, p *followed) {
	l := &listener{heard: f.heard}
	const pause, most = time.Second, 10
	for failures := 0; failures < most; {
		over := p.isOver()
		err := f.readLog(ctx, p.name, l)
		var unheard unheardError
		switch {
		case errors.As(err, &unheard):
			f.cancel(err)
			return
		case ctx.Err() != nil, over && err == nil, apierrors.IsNotFound(err):
			return // what there is has been read
		case over:
			failures++
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause): // nothing tells when the log can be had again
		}
	}
}

func (f *follower) readLog(ctx context.Context, pod string, l *listener) error {
	log, err := f.run.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	return l.read(log)
}

// unheardError is one of this side, which following the log again does not mend.
type unheardError struct{ error }

// heard takes an event into the run.
func (f *follower) heard(e runner.Event) error {
	if e.Ended != nil {
		if !f.ordered[e.Ended.Behaviour] {
			return unheardError{fmt.Errorf("a pod tells of behaviour %q, which was not ordered", e.Ended.Behaviour)}
		}
		if err := f.run.config.Journal.Append(*e.Ended); err != nil {
			return unheardError{err}
		}
	}
	f.run.tell(e)
	return nil
}

// failures says which pods failed and why.
func (f *follower) failures() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, p := range f.pods {
		if p.failure != "" {
			errs = append(errs, fmt.Errorf("pod %s: %s", p.name, p.failure))
		}
	}
	return errors.Join(errs...)
}
