package podsource

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// Mirrors keeps an image of each static pod at the API server, for all to see. The
// image cannot be used to change the pod.
type Mirrors struct {
	client kubernetes.Interface
	// node finds this node's object, which owns the mirrors; nil while it is not known.
	node func() *v1.Node
	// appeared is told, and must not block, when a static pod's mirror is there.
	appeared func(static types.UID)

	mu      sync.Mutex
	mirrors map[types.NamespacedName]*v1.Pod
	statics map[types.NamespacedName]*v1.Pod
	wake    chan struct{}
}

// NewMirrors returns a keeper without any mirrors.
func NewMirrors(client kubernetes.Interface, node func() *v1.Node, appeared func(types.UID)) *Mirrors {
	return &Mirrors{
		client: client, node: node, appeared: appeared,
		mirrors: map[types.NamespacedName]*v1.Pod{}, statics: map[types.NamespacedName]*v1.Pod{},
		wake: make(chan struct{}, 1),
	}
}

// Wanted says that a static pod runs and should have a mirror.
func (m *Mirrors) Wanted(pod *v1.Pod) {
	m.mu.Lock()
	m.statics[nameOf(pod)] = pod
	m.mu.Unlock()
	m.poke()
}

// Unwanted says that a static pod is no more.
func (m *Mirrors) Unwanted(pod *v1.Pod) {
	m.mu.Lock()
	if have := m.statics[nameOf(pod)]; have != nil && have.UID == pod.UID {
		delete(m.statics, nameOf(pod))
	}
	m.mu.Unlock()
	m.poke()
}

// Observe takes in a mirror that the API server has.
func (m *Mirrors) Observe(mirror *v1.Pod) {
	m.mu.Lock()
	m.mirrors[nameOf(mirror)] = mirror
	static := m.statics[nameOf(mirror)]
	m.mu.Unlock()
	m.poke()
	if static != nil && mirror.Annotations[AnnotationMirror] == static.Annotations[AnnotationHash] {
		m.appeared(static.UID)
	}
}

// Gone takes in that a mirror is gone from the API server, and says whether it was one.
func (m *Mirrors) Gone(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, mirror := range m.mirrors {
		if mirror.UID == uid {
			delete(m.mirrors, name)
			m.poke()
			return true
		}
	}
	return false
}

// Of is the mirror of a static pod, or nil.
func (m *Mirrors) Of(static *v1.Pod) *v1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	mirror := m.mirrors[nameOf(static)]
	if mirror == nil || mirror.Annotations[AnnotationMirror] != static.Annotations[AnnotationHash] {
		return nil
	}
	return mirror
}

func (m *Mirrors) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run makes and removes mirrors until ctx ends.
func (m *Mirrors) Run(ctx context.Context) {
	const slow = 5 * time.Second
	retry := time.NewTimer(slow)
	defer retry.Stop()
	for {
		select {
		case <-m.wake:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		if m.reconcile(ctx) {
			retry.Reset(100 * time.Millisecond)
		}
	}
}

// reconcile brings the mirrors in line, and says whether something is left to do.
func (m *Mirrors) reconcile(ctx context.Context) (again bool) {
	m.mu.Lock()
	var remove, create []*v1.Pod
	for name, mirror := range m.mirrors {
		static := m.statics[name]
		if static == nil || static.Annotations[AnnotationHash] != mirror.Annotations[AnnotationMirror] || mirror.DeletionTimestamp != nil {
			remove = append(remove, mirror)
		}
	}
	for name, static := range m.statics {
		if m.mirrors[name] == nil {
			create = append(create, static)
		}
	}
	m.mu.Unlock()
	log := klog.FromContext(ctx)
	for _, mirror := range remove {
		now := int64(0)
		err := m.client.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &mirror.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			log.Error(err, "Delete a mirror pod", "pod", klog.KObj(mirror))
			again = true
		}
	}
	for _, static := range create {
		node := m.node()
		if node == nil {
			again = true
			continue
		}
		if _, err := m.client.CoreV1().Pods(static.Namespace).Create(ctx, mirrorOf(static, node), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			log.Error(err, "Create a mirror pod", "pod", klog.KObj(static))
			again = true
		}
	}
	return again
}

func mirrorOf(static *v1.Pod, node *v1.Node) *v1.Pod {
	mirror := static.DeepCopy()
	mirror.UID = ""
	mirror.ResourceVersion = ""
	mirror.Status = v1.PodStatus{}
	mirror.Annotations[AnnotationMirror] = static.Annotations[AnnotationHash]
	controls := true
	mirror.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &controls,
	}}
	return mirror
}

func nameOf(pod *v1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}
