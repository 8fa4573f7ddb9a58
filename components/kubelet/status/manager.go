package status

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// patience is how long a status is held back that says no more than "being
// created": most pods run before it is over, and one patch says both.
const patience = 500 * time.Millisecond

// Manager sends the statuses of pods to the API server: for each pod one at a time,
// the latest wins, and only what changed.
type Manager struct {
	ctx    context.Context
	client kubernetes.Interface
	// apiPod finds the pod as the API server has it; for a static pod that is its mirror.
	apiPod func(pod *v1.Pod) *v1.Pod

	mu   sync.Mutex
	pods map[types.UID]*sender
}

// sender is one pod's line to the API server.
type sender struct {
	pod    *v1.Pod
	status v1.PodStatus
	// wanted counts statuses that were set, sent those that arrived.
	wanted, sent int
	// known is the pod as the API server last showed it.
	known   *v1.Pod
	wake    chan struct{}
	urgent  bool
	arrived chan struct{}
	cancel  context.CancelFunc
	retired bool
	// gone says that the API server has no such pod any more and never will.
	gone bool
}

// NewManager returns a manager that sends until ctx ends. Without a client it only remembers.
func NewManager(ctx context.Context, client kubernetes.Interface, apiPod func(*v1.Pod) *v1.Pod) *Manager {
	return &Manager{ctx: ctx, client: client, apiPod: apiPod, pods: map[types.UID]*sender{}}
}

// Get returns the latest status of a pod.
func (m *Manager) Get(uid types.UID) (v1.PodStatus, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.pods[uid]; s != nil && s.wanted > 0 {
		return *s.status.DeepCopy(), true
	}
	return v1.PodStatus{}, false
}

// Set takes in a pod's status and sends it soon.
func (m *Manager) Set(pod *v1.Pod, status v1.PodStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.pods[pod.UID]
	if s == nil {
		ctx, cancel := context.WithCancel(m.ctx)
		s = &sender{wake: make(chan struct{}, 1), arrived: make(chan struct{}), cancel: cancel}
		m.pods[pod.UID] = s
		if m.client != nil {
			go m.send(ctx, s)
		}
	}
	s.pod = pod
	if s.wanted > 0 && equality.Semantic.DeepEqual(s.status, status) {
		return
	}
	s.status = status
	s.wanted++
	if s.gone {
		return
	}
	s.urgent = s.urgent || telling(&status)
	s.poke()
}

// Resend sends a pod's status again although it did not change: what the API server
// has is not what was sent.
func (m *Manager) Resend(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.pods[uid]; s != nil && s.wanted > 0 {
		s.known = nil
		s.wanted++
		s.urgent = true
		s.poke()
	}
}

func (s *sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// telling says whether a status says more than that a pod is being created.
func telling(status *v1.PodStatus) bool {
	if status.Phase != v1.PodPending {
		return true
	}
	for _, list := range [][]v1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, c := range list {
			w := c.State.Waiting
			if w == nil || w.Reason != reasonCreating && w.Reason != reasonInitializing || c.RestartCount > 0 {
				return true
			}
		}
	}
	return false
}

// Flush waits until the API server has a pod's latest status, or the pod is gone.
func (m *Manager) Flush(ctx context.Context, uid types.UID) error {
	for {
		m.mu.Lock()
		s := m.pods[uid]
		if s == nil || m.client == nil || s.sent == s.wanted || s.retired {
			m.mu.Unlock()
			return nil
		}
		s.urgent = true
		s.poke()
		arrived := s.arrived
		m.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Forget drops a pod.
func (m *Manager) Forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.pods[uid]; s != nil {
		s.cancel()
		delete(m.pods, uid)
	}
}

// send is the loop of one pod's line.
func (m *Manager) send(ctx context.Context, s *sender) {
	delay := 50 * time.Millisecond
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		if !m.awaitUrgency(ctx, s) {
			return
		}
		m.mu.Lock()
		pod, status, wanted, known := s.pod, s.status.DeepCopy(), s.wanted, s.known
		s.urgent = false
		m.mu.Unlock()
		shown, err := m.patch(ctx, pod, status, known)
		switch {
		case err == nil:
			delay = 50 * time.Millisecond
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err):
			if ctx.Err() == nil {
				klog.FromContext(ctx).V(2).Info("The API server will not have this status", "pod", klog.KObj(pod), "err", err)
			}
			shown = nil
		default:
			if ctx.Err() != nil {
				return
			}
			klog.FromContext(ctx).Error(err, "Send the status of a pod", "pod", klog.KObj(pod))
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return
			}
			delay = min(2*delay, 5*time.Second)
			m.mu.Lock()
			s.urgent = true
			s.poke()
			m.mu.Unlock()
			continue
		}
		absent := apierrors.IsNotFound(err)
		api := m.apiPod(pod)
		m.mu.Lock()
		s.sent, s.known = wanted, shown
		s.retired = absent
		// A static pod's mirror, which has a UID of its own, may come back.
		s.gone = absent && api != nil && api.UID == pod.UID
		close(s.arrived)
		s.arrived = make(chan struct{})
		m.mu.Unlock()
	}
}

// awaitUrgency holds back a status that a better one will soon replace.
func (m *Manager) awaitUrgency(ctx context.Context, s *sender) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		m.mu.Lock()
		urgent := s.urgent
		m.mu.Unlock()
		if urgent {
			return true
		}
		select {
		case <-s.wake:
		case <-deadline.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// patch sends the difference between what the API server has and what it should have.
func (m *Manager) patch(ctx context.Context, pod *v1.Pod, status *v1.PodStatus, known *v1.Pod) (*v1.Pod, error) {
	base := m.apiPod(pod)
	if base == nil {
		// A static pod whose mirror is not there yet: nobody to tell.
		return nil, nil
	}
	if known != nil && known.UID == base.UID && !newer(base, known) {
		base = known
	}
	next := base.DeepCopy()
	next.Status = *status
	next.Status.Conditions = mergeConditions(base.Status.Conditions, status.Conditions)
	next.Status.Resize = base.Status.Resize
	data, same, err := difference(base, next)
	if err != nil {
		return nil, err
	}
	if same {
		return base, nil
	}
	return m.client.CoreV1().Pods(base.Namespace).Patch(ctx, base.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
}

// newer says whether a was seen at the API server after b. Resource versions of one
// object can be compared by length, then by digits.
func newer(a, b *v1.Pod) bool {
	x, y := a.ResourceVersion, b.ResourceVersion
	if len(x) != len(y) {
		return len(x) > len(y)
	}
	return x > y
}

// mergeConditions keeps what others than the kubelet have set since.
func mergeConditions(base, ours []v1.PodCondition) []v1.PodCondition {
	var out []v1.PodCondition
	for _, c := range base {
		if !owned(c.Type) && FindCondition(ours, c.Type) == nil {
			out = append(out, c)
		}
	}
	for _, c := range ours {
		if theirs := FindCondition(base, c.Type); theirs != nil && !owned(c.Type) && c.Type != v1.DisruptionTarget {
			c = *theirs
		}
		out = append(out, c)
	}
	return out
}

func difference(base, next *v1.Pod) (data []byte, same bool, err error) {
	meta := metav1.ObjectMeta{UID: base.UID}
	before, err := json.Marshal(v1.Pod{Status: base.Status})
	if err != nil {
		return nil, false, err
	}
	after, err := json.Marshal(v1.Pod{ObjectMeta: meta, Status: next.Status})
	if err != nil {
		return nil, false, err
	}
	data, err = strategicpatch.CreateTwoWayMergePatch(before, after, v1.Pod{})
	if err != nil {
		return nil, false, fmt.Errorf("compare the statuses of pod %s/%s: %w", base.Namespace, base.Name, err)
	}
	// The uid is always in it: it makes the patch fail on a namesake.
	return data, string(data) == fmt.Sprintf(`{"metadata":{"uid":%q}}`, base.UID), nil
}
