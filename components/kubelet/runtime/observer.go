package runtime

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

// relistPeriod is how often the observer compares notes with the runtime although
// its event stream is up: a safety net, nothing waits for it.
const relistPeriod = time.Minute

// Observer keeps the state of every pod in the runtime up to date from CRI
// container events (KEP-3386, evented PLEG), and lists everything when it starts
// and whenever the stream was interrupted.
//
// Containers only ever go from created to running to exited, and sandboxes from
// ready to not ready, so observations may come in any order: the furthest wins.
type Observer struct {
	service internalapi.RuntimeService
	changed func(types.UID)

	mu     sync.Mutex
	pods   map[types.UID]*Pod
	gone   map[string]time.Time
	listed time.Time
	synced chan struct{}
}

// NewObserver returns an observer that calls changed, which must not block, after
// each change of a pod.
func NewObserver(service internalapi.RuntimeService, changed func(types.UID)) *Observer {
	return &Observer{
		service: service,
		changed: changed,
		pods:    map[types.UID]*Pod{},
		gone:    map[string]time.Time{},
		synced:  make(chan struct{}),
	}
}

// Run observes until ctx ends.
func (o *Observer) Run(ctx context.Context) error {
	go o.relistLoop(ctx)
	events := make(chan *runtimeapi.ContainerEventResponse, 256)
	go func() {
		for {
			select {
			case event := <-events:
				o.absorb(event)
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		err := o.service.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) {
			// Listing after subscribing misses nothing.
			go o.relist(ctx)
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the stream ended because it was told to
		}
		klog.FromContext(ctx).Error(err, "Container event stream ended; listing until it is back")
		o.relist(ctx)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// Synced is closed once the runtime was listed for the first time.
func (o *Observer) Synced() <-chan struct{} { return o.synced }

// LastListed is when the runtime was last listed with success.
func (o *Observer) LastListed() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.listed
}

// Get returns what exists of a pod; nil if nothing does.
func (o *Observer) Get(uid types.UID) *Pod {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pods[uid]
}

// List returns all pods of which anything exists.
func (o *Observer) List() []*Pod {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Values(o.pods))
}

// FindContainer returns the container with an id, and its pod.
func (o *Observer) FindContainer(id string) (*Pod, *Container) {
	for _, pod := range o.List() {
		for _, c := range pod.Containers {
			if c.Id == id {
				return pod, c
			}
		}
	}
	return nil, nil
}

func (o *Observer) relistLoop(ctx context.Context) {
	ticker := time.NewTicker(relistPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			o.relist(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// absorb takes in what an event says. An event carries the whole pod.
func (o *Observer) absorb(event *runtimeapi.ContainerEventResponse) {
	if event.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT {
		o.Forget(event.ContainerId)
		return
	}
	if event.PodSandboxStatus == nil {
		return
	}
	o.ObserveSandbox(event.PodSandboxStatus)
	for _, status := range event.ContainersStatuses {
		o.ObserveContainer(event.PodSandboxStatus.Id, status)
	}
}

// ObserveSandbox takes in a sandbox's status.
func (o *Observer) ObserveSandbox(status *runtimeapi.PodSandboxStatus) {
	uid, namespace, name := PodOf(status.GetLabels())
	if uid == "" {
		return
	}
	o.update(uid, namespace, name, func(pod *Pod) bool {
		if _, gone := o.gone[status.Id]; gone {
			return false
		}
		for i, known := range pod.Sandboxes {
			if known.Id != status.Id {
				continue
			}
			// An address may come after readiness; readiness is never regained.
			if known.State == runtimeapi.PodSandboxState_SANDBOX_NOTREADY && status.State == runtimeapi.PodSandboxState_SANDBOX_READY {
				return false
			}
			changed := known.State != status.State || !slices.Equal(known.IPs(), (&Sandbox{PodSandboxStatus: status}).IPs())
			if !changed {
				known.seen = time.Now()
				return false
			}
			pod.Sandboxes[i] = &Sandbox{PodSandboxStatus: status, seen: time.Now()}
			return true
		}
		pod.Sandboxes = append(pod.Sandboxes, &Sandbox{PodSandboxStatus: status, seen: time.Now()})
		return true
	})
}

// ObserveContainer takes in a container's status.
func (o *Observer) ObserveContainer(sandboxID string, status *runtimeapi.ContainerStatus) {
	uid, namespace, name := PodOf(status.GetLabels())
	if uid == "" {
		return
	}
	o.update(uid, namespace, name, func(pod *Pod) bool {
		if _, gone := o.gone[status.Id]; gone {
			return false
		}
		next := &Container{ContainerStatus: status, SandboxID: sandboxID, seen: time.Now()}
		for i, known := range pod.Containers {
			if known.Id != status.Id {
				continue
			}
			if known.State > status.State && status.State != runtimeapi.ContainerState_CONTAINER_UNKNOWN {
				return false
			}
			if sandboxID == "" {
				next.SandboxID = known.SandboxID
			}
			changed := known.State != status.State || known.FinishedAt != status.FinishedAt || known.StartedAt != status.StartedAt || known.Reason != status.Reason ||
				known.GetResources().String() != status.GetResources().String()
			pod.Containers[i] = next
			return changed
		}
		pod.Containers = append(pod.Containers, next)
		return true
	})
}

// Forget drops a sandbox or container that was removed from the runtime. Events
// about it that are still under way do not bring it back.
func (o *Observer) Forget(id string) {
	o.mu.Lock()
	o.gone[id] = time.Now()
	var uids []types.UID
	for uid, pod := range o.pods {
		next := pod.clone()
		next.Sandboxes = slices.DeleteFunc(next.Sandboxes, func(s *Sandbox) bool { return s.Id == id })
		next.Containers = slices.DeleteFunc(next.Containers, func(c *Container) bool { return c.Id == id })
		if len(next.Sandboxes) == len(pod.Sandboxes) && len(next.Containers) == len(pod.Containers) {
			continue
		}
		uids = append(uids, uid)
		o.pods[uid] = next
		if len(next.Sandboxes)+len(next.Containers) == 0 {
			delete(o.pods, uid)
		}
	}
	o.mu.Unlock()
	for _, uid := range uids {
		o.changed(uid)
	}
}

// update applies change to a copy of a pod, keeps it if change says it differs, and
// tells whoever listens.
func (o *Observer) update(uid types.UID, namespace, name string, change func(*Pod) bool) {
	o.mu.Lock()
	pod := o.pods[uid]
	if pod == nil {
		pod = &Pod{UID: uid, Namespace: namespace, Name: name}
	}
	next := pod.clone()
	differs := change(next)
	if differs {
		next.sort()
		o.pods[uid] = next
	}
	o.mu.Unlock()
	if differs {
		o.changed(uid)
	}
}

// relist lists the runtime: it looks closer at what is new or changed and forgets
// what is no longer there.
func (o *Observer) relist(ctx context.Context) {
	began := time.Now()
	sandboxes, err := o.service.ListPodSandbox(ctx, nil)
	if err != nil {
		klog.FromContext(ctx).Error(err, "List the pod sandboxes")
		return
	}
	containers, err := o.service.ListContainers(ctx, nil)
	if err != nil {
		klog.FromContext(ctx).Error(err, "List the containers")
		return
	}
	present := map[string]bool{}
	for _, listed := range sandboxes {
		present[listed.Id] = true
		uid, _, _ := PodOf(listed.Labels)
		if known := findSandbox(o.Get(uid), listed.Id); known != nil && known.State == listed.State {
			continue
		}
		if resp, err := o.service.PodSandboxStatus(ctx, listed.Id, false); err == nil {
			o.ObserveSandbox(resp.Status)
		}
	}
	for _, listed := range containers {
		present[listed.Id] = true
		uid, _, _ := PodOf(listed.Labels)
		if known := findContainer(o.Get(uid), listed.Id); known != nil && known.State == listed.State {
			continue
		}
		if resp, err := o.service.ContainerStatus(ctx, listed.Id, false); err == nil {
			o.ObserveContainer(listed.PodSandboxId, resp.Status)
		}
	}
	for _, id := range o.absent(present, began) {
		o.Forget(id)
	}
	o.mu.Lock()
	o.listed = time.Now()
	for id, when := range o.gone {
		if time.Since(when) > 2*relistPeriod {
			delete(o.gone, id)
		}
	}
	select {
	case <-o.synced:
	default:
		close(o.synced)
	}
	o.mu.Unlock()
}

// absent are the ids that are known since before a listing began and not in it.
func (o *Observer) absent(present map[string]bool, began time.Time) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []string
	for _, pod := range o.pods {
		for _, s := range pod.Sandboxes {
			if !present[s.Id] && s.seen.Before(began) {
				ids = append(ids, s.Id)
			}
		}
		for _, c := range pod.Containers {
			if !present[c.Id] && c.seen.Before(began) {
				ids = append(ids, c.Id)
			}
		}
	}
	return ids
}

func findSandbox(pod *Pod, id string) *Sandbox {
	if pod != nil {
		for _, s := range pod.Sandboxes {
			if s.Id == id {
				return s
			}
		}
	}
	return nil
}

func findContainer(pod *Pod, id string) *Container {
	if pod != nil {
		for _, c := range pod.Containers {
			if c.Id == id {
				return c
			}
		}
	}
	return nil
}
