// Package worker brings pods to life and to their end. Each pod has a worker of its
// own: a loop that is woken by every change of the pod, of its containers and of
// their health, decides by package lifecycle what to do, and does one thing at a
// time without ever keeping other pods waiting.
package worker

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	internalapi "k8s.io/cri-api/pkg/apis"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/cgroup"
	"github.com/plumbline/plumbline/components/kubelet/image"
	"github.com/plumbline/plumbline/components/kubelet/objectcache"
	"github.com/plumbline/plumbline/components/kubelet/podnetwork"
	"github.com/plumbline/plumbline/components/kubelet/podsource"
	"github.com/plumbline/plumbline/components/kubelet/probe"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/status"
	"github.com/plumbline/plumbline/components/kubelet/userns"
	"github.com/plumbline/plumbline/components/kubelet/volume"
)

// housekeepingPeriod is how often leftovers of pods that nobody knows are looked for.
const housekeepingPeriod = 30 * time.Second

// Config is what workers work with.
type Config struct {
	Runtime  internalapi.RuntimeService
	Observer *runtime.Observer
	Builder  *runtime.Builder
	Images   *image.Manager
	Volumes  *volume.Manager
	Probes   *probe.Manager
	Status   *status.Manager
	Cgroups  *cgroup.Pods
	DNS      *podnetwork.DNS
	// Client, Objects and Mirrors are nil in a standalone kubelet.
	Client  kubernetes.Interface
	Objects *objectcache.Cache
	Mirrors *podsource.Mirrors
	// Event records an event on a pod, or on one of its containers if one is named.
	Event func(pod *v1.Pod, container, eventType, reason, message string)
	// Working is told when a pod is worked on, and done when that is over.
	Working func() (done func())
	// Services lists the cluster's services; it waits until they are known.
	Services func(ctx context.Context) ([]*v1.Service, error)
	HostIPs  func() []net.IP
	// Allocatable is what the node has for pods.
	Allocatable func() v1.ResourceList
	// Admit says why a pod cannot run here beside the others; nil means it can.
	Admit func(pod *v1.Pod, others []*v1.Pod) *status.Verdict
	// Resize says why a pod that runs here cannot have the resources that it asks for
	// now; an empty reason means it can.
	Resize func(pod *v1.Pod, others []*v1.Pod) (reason, message string)
	// Ledger keeps what was granted to pods.
	Ledger *allocation.Ledger
	// Users gives ids to pods that do not share the host's.
	Users *userns.Ranges
	// UserNamespaces says whether a runtime handler can give pods users of their own.
	UserNamespaces func(handler string) bool
	// NetworkReady says why pods cannot have a network yet; nil means they can.
	NetworkReady func() error
	// Sources are those that must have named their pods before unknown ones are removed.
	Sources []string
	// RuntimeName is the scheme of container ids.
	RuntimeName    string
	ClusterDomain  string
	LongestBackOff time.Duration
	// RecursiveReadOnly says whether the runtime can make mounts read-only all the way down.
	RecursiveReadOnly func() bool
}

// Manager keeps a worker for each pod.
type Manager struct {
	c   Config
	ctx context.Context

	mu       sync.Mutex
	workers  map[types.UID]*worker
	complete map[string]bool
	orphans  chan struct{}
	running  sync.WaitGroup
}

// NewManager returns a manager whose workers run until ctx ends. When they end the
// containers go on.
func NewManager(ctx context.Context, c Config) *Manager {
	return &Manager{c: c, ctx: ctx, workers: map[types.UID]*worker{}, complete: map[string]bool{}, orphans: make(chan struct{}, 1)}
}

// Set implements podsource.Sink.
func (m *Manager) Set(pod *v1.Pod) {
	if podsource.IsMirror(pod) {
		if m.c.Mirrors != nil {
			m.c.Mirrors.Observe(pod)
		}
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workers[pod.UID]
	if w != nil {
		w.update(pod)
		return
	}
	if !podsource.IsStatic(pod) && terminal(pod.Status.Phase) && pod.DeletionTimestamp == nil && m.c.Observer.Get(pod.UID) == nil {
		// It ended before this kubelet began and nothing is left of it: only its status stays.
		w = m.newWorker(pod)
		w.phase = ended
		close(w.settled)
	} else {
		w = m.newWorker(pod)
	}
	m.launch(w)
}

func (m *Manager) newWorker(pod *v1.Pod) *worker {
	w := newWorker(m, pod)
	if podsource.IsStatic(pod) {
		// A changed manifest is a pod of the same name: the old one ends first.
		for _, other := range m.workers {
			if o := other.current(); podsource.IsStatic(o) && o.Namespace == pod.Namespace && o.Name == pod.Name {
				w.after = append(w.after, other.done)
			}
		}
	}
	return w
}

func (m *Manager) launch(w *worker) {
	m.workers[w.uid] = w
	m.running.Add(1)
	go func() {
		defer m.running.Done()
		w.run(m.ctx)
	}()
}

// Remove implements podsource.Sink.
func (m *Manager) Remove(uid types.UID) {
	if m.c.Mirrors != nil && m.c.Mirrors.Gone(uid) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[uid]; w != nil {
		w.remove()
	}
}

// Complete implements podsource.Sink.
func (m *Manager) Complete(source string) {
	m.mu.Lock()
	m.complete[source] = true
	m.mu.Unlock()
	m.lookForOrphans()
}

// Wake has a pod's worker look again: its containers or its health changed.
func (m *Manager) Wake(uid types.UID) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w != nil {
		w.poke()
		return
	}
	m.lookForOrphans()
}

// Refresh has a pod's worker bring the content of its volumes up to date.
func (m *Manager) Refresh(uid types.UID) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w != nil {
		w.refresh()
	}
}

// End ends a pod for a reason of the node's, such as eviction, and returns when its
// containers have ended and its volumes, which may be in memory, are given back. grace, if not nil, is the longest it may take.
func (m *Manager) End(ctx context.Context, uid types.UID, verdict status.Verdict, grace *int64) error {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w == nil {
		return nil
	}
	w.end(verdict, grace)
	select {
	case <-w.settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pods lists the pods that this node has, with their latest status.
func (m *Manager) Pods() []*v1.Pod {
	m.mu.Lock()
	workers := make([]*worker, 0, len(m.workers))
	for _, w := range m.workers {
		workers = append(workers, w)
	}
	m.mu.Unlock()
	var out []*v1.Pod
	for _, w := range workers {
		if !w.orphan {
			out = append(out, m.withStatus(w.current()))
		}
	}
	slices.SortFunc(out, func(a, b *v1.Pod) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return out
}

// Active lists the pods that use resources of this node.
func (m *Manager) Active() []*v1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.activeLocked()
}

func (m *Manager) activeLocked() []*v1.Pod {
	var out []*v1.Pod
	for _, w := range m.workers {
		if w.active() {
			out = append(out, w.granted())
		}
	}
	return out
}

// othersLocked are the pods whose resources count when another asks for some, with
// what was granted to them.
func (m *Manager) othersLocked(asking *worker) []*v1.Pod {
	var out []*v1.Pod
	for _, w := range m.workers {
		if w != asking && w.active() && w.isCounted() {
			out = append(out, w.granted())
		}
	}
	return out
}

func (m *Manager) withStatus(pod *v1.Pod) *v1.Pod {
	if latest, ok := m.c.Status.Get(pod.UID); ok {
		pod = pod.DeepCopy()
		pod.Status = latest
	}
	return pod
}

// Find returns a pod by name, with its latest status.
func (m *Manager) Find(namespace, name string) (*v1.Pod, bool) {
	for _, pod := range m.Pods() {
		if pod.Namespace == namespace && pod.Name == name {
			return pod, true
		}
	}
	return nil, false
}

// State is what exists of a pod in the runtime.
func (m *Manager) State(uid types.UID) *runtime.Pod { return m.c.Observer.Get(uid) }

func (m *Manager) lookForOrphans() {
	select {
	case m.orphans <- struct{}{}:
	default:
	}
}

// Run looks after what is left of pods that nobody knows, until ctx ends; then it
// waits for the workers.
func (m *Manager) Run(ctx context.Context) {
	ticker := time.NewTicker(housekeepingPeriod)
	defer ticker.Stop()
	defer m.running.Wait()
	select {
	case <-m.c.Observer.Synced():
	case <-ctx.Done():
		return
	}
	for {
		select {
		case <-m.orphans:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		m.housekeep(ctx)
	}
}

// housekeep ends pods in the runtime, and removes directories and cgroups, that
// belong to no pod. It waits until all sources have spoken.
func (m *Manager) housekeep(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, source := range m.c.Sources {
		if !m.complete[source] {
			return
		}
	}
	log := klog.FromContext(ctx)
	for _, found := range m.c.Observer.List() {
		if m.workers[found.UID] != nil {
			continue
		}
		log.Info("Ending a pod that nobody asked for", "pod", klog.KRef(found.Namespace, found.Name), "uid", found.UID)
		w := m.newWorker(podOf(found))
		w.orphan, w.removed = true, true
		m.launch(w)
	}
	leftovers := append(m.c.Volumes.Leftovers(), m.c.Cgroups.Existing()...)
	slices.Sort(leftovers)
	for _, uid := range slices.Compact(leftovers) {
		if m.workers[uid] != nil || m.c.Observer.Get(uid) != nil {
			continue
		}
		if err := m.c.Volumes.TearDown(uid); err != nil {
			log.Error(err, "Remove the volumes of a pod that is gone", "uid", uid)
		}
		m.c.Users.Release(uid)
		if err := m.c.Cgroups.Remove(uid); err != nil {
			log.V(2).Info("Remove the cgroup of a pod that is gone", "uid", uid, "err", err)
		}
	}
	m.sweepLogs()
}

// sweepLogs removes the logs of pods that are gone.
func (m *Manager) sweepLogs() {
	entries, err := os.ReadDir(m.c.Builder.LogsDir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		parts := strings.Split(entry.Name(), "_")
		if len(parts) != 3 {
			continue
		}
		uid := types.UID(parts[2])
		if m.workers[uid] == nil && m.c.Observer.Get(uid) == nil {
			_ = os.RemoveAll(m.c.Builder.PodLogsDir(parts[0], parts[1], parts[2]))
		}
	}
}

// podOf makes what is known of a pod from what is left of it in the runtime.
func podOf(found *runtime.Pod) *v1.Pod {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: found.UID, Namespace: found.Namespace, Name: found.Name}}
	grace := int64(v1.DefaultTerminationGracePeriodSeconds)
	for _, c := range found.Containers {
		if seconds, known := c.TerminationGrace(); known {
			grace = seconds
		}
		spec := v1.Container{Name: c.Name()}
		if hook := c.PreStop(); hook != nil {
			spec.Lifecycle = &v1.Lifecycle{PreStop: hook}
		}
		pod.Spec.Containers = append(pod.Spec.Containers, spec)
	}
	pod.Spec.TerminationGracePeriodSeconds = &grace
	return pod
}

func (m *Manager) forget(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.workers[w.uid] == w {
		delete(m.workers, w.uid)
	}
}

func terminal(phase v1.PodPhase) bool { return phase == v1.PodSucceeded || phase == v1.PodFailed }
