package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/images"
)

// pods measures how long pods take to start whose image is on the node already.
func (m *measurement) pods(ctx context.Context, w *workload) error {
	if m.Replicas > 0 {
		m.say(fmt.Sprintf("a Deployment of %d pods", m.Replicas))
		took, err := w.deploy(ctx, int32(m.Replicas))
		if err != nil {
			return err
		}
		m.record.duration("deployment/ready", took)
	}
	m.say(fmt.Sprintf("%d pods one by one", m.OneByOne))
	for i := range m.OneByOne {
		took, err := w.startPod(ctx, fmt.Sprintf("single-%d", i))
		if err != nil {
			return err
		}
		m.record.sample("pod/one by one", took)
	}
	m.say(fmt.Sprintf("%d pods at once", m.AtOnce))
	group, together := errgroup.WithContext(ctx)
	for i := range m.AtOnce {
		group.Go(func() error {
			name := fmt.Sprintf("crowd-%d", i)
			begun := time.Now()
			if err := w.client.Create(together, newPod(w.namespace, name)); err != nil {
				return err
			}
			running, err := w.running.await(together, name)
			if err == nil {
				m.record.sample("pod/at once", running.Sub(begun))
			}
			return err
		})
	}
	return group.Wait()
}

// workload is what runs in a cluster to be measured.
type workload struct {
	client    client.WithWatch
	watcher   expect.Watcher
	namespace string
	running   *sightings
}

// newWorkload makes a namespace and watches the pods in it.
func newWorkload(ctx context.Context, kubeconfig string) (*workload, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	c, err := expect.NewClient(config, nil)
	if err != nil {
		return nil, err
	}
	w := &workload{client: c, watcher: expect.NewWatcher(c).Within(expect.Long), namespace: "bench"}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	if err := c.Create(ctx, namespace); err != nil {
		return nil, err
	}
	// Pods are refused until their service account is there.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "default"}}
	there := expect.Satisfy("be there", func(*corev1.ServiceAccount) string { return "" })
	if err := w.watcher.Until(ctx, account, there); err != nil {
		return nil, err
	}
	events, err := c.Watch(ctx, &corev1.PodList{}, client.InNamespace(w.namespace))
	if err != nil {
		return nil, err
	}
	w.running = newSightings(events)
	return w, nil
}

func (w *workload) close() { w.running.events.Stop() }

func newPod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: pauseSpec()}
}

func pauseSpec() corev1.PodSpec {
	var grace int64
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{{Name: "pause", Image: images.Pause, ImagePullPolicy: corev1.PullIfNotPresent}},
	}
}

// startPod measures one pod from its creation until it is seen Running, and removes it.
func (w *workload) startPod(ctx context.Context, name string) (time.Duration, error) {
	pod := newPod(w.namespace, name)
	begun := time.Now()
	if err := w.client.Create(ctx, pod); err != nil {
		return 0, err
	}
	running, err := w.running.await(ctx, name)
	if err != nil {
		return 0, err
	}
	if err := w.client.Delete(ctx, pod); err != nil {
		return 0, err
	}
	return running.Sub(begun), w.watcher.Gone(ctx, pod)
}

// deploy measures a Deployment from its creation until all its pods are Ready, and
// removes it.
func (w *workload) deploy(ctx context.Context, replicas int32) (time.Duration, error) {
	labels := map[string]string{"app": "deployed"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "deployed"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pauseSpec()},
		},
	}
	begun := time.Now()
	if err := w.client.Create(ctx, deployment); err != nil {
		return 0, err
	}
	ready := expect.Satisfy("have all pods Ready", func(d *appsv1.Deployment) string {
		if d.Status.ReadyReplicas == replicas {
			return ""
		}
		return fmt.Sprintf("%d of %d pods are Ready", d.Status.ReadyReplicas, replicas)
	})
	if err := w.watcher.Until(ctx, deployment, ready); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	if err := w.client.Delete(ctx, deployment, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		return 0, err
	}
	return took, w.watcher.Gone(ctx, deployment)
}

// sightings knows when a watch first told of a pod that it is Running.
type sightings struct {
	events watch.Interface
	ended  chan struct{}

	mu   sync.Mutex
	pods map[string]*sighting
}

// sighting is complete once its channel is closed.
type sighting struct {
	at   time.Time
	seen chan struct{}
}

func newSightings(events watch.Interface) *sightings {
	s := &sightings{events: events, ended: make(chan struct{}), pods: map[string]*sighting{}}
	go s.follow()
	return s
}

func (s *sightings) follow() {
	defer close(s.ended)
	for event := range s.events.ResultChan() {
		now := time.Now()
		pod, ok := event.Object.(*corev1.Pod)
		if !ok || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if of := s.of(pod.Name); of.at.IsZero() {
			of.at = now
			close(of.seen)
		}
	}
}

func (s *sightings) of(name string) *sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[name] == nil {
		s.pods[name] = &sighting{seen: make(chan struct{})}
	}
	return s.pods[name]
}

// await returns when the pod was seen Running.
func (s *sightings) await(ctx context.Context, name string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, expect.Scaled(expect.Long))
	defer cancel()
	of := s.of(name)
	select {
	case <-of.seen:
		return of.at, nil
	case <-s.ended:
		return time.Time{}, errors.New("the watch of the pods broke off")
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("pod %s is not Running: %w", name, ctx.Err())
	}
}
