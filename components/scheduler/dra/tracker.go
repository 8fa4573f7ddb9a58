package dra

import (
	"fmt"
	"sync"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// Tracker knows every claim in its newest state: what this scheduler wrote counts before the watch tells of it, and
// what it has promised a pod counts before it is written. One lock guards all of it, so that a device is never seen
// free on its way from promised to written to watched.
type Tracker struct {
	mu       sync.RWMutex
	claims   map[types.NamespacedName]*known
	promised map[types.UID]*promise
	taken    *ledger
	handlers []cache.ResourceEventHandler
	// change is closed at the next change; nil while nobody waits.
	change chan struct{}
}

// known is one claim: as the informer has it (nil before it has) and as it is, which may be newer.
type known struct {
	informed, current *resourcev1.ResourceClaim
}

// promise is an allocation that is not written yet.
type promise struct {
	claim   *resourcev1.ResourceClaim
	sharers int
}

var (
	_ fwk.ResourceClaimTracker   = &Tracker{}
	_ cache.ResourceEventHandler = &Tracker{}
)

// NewTracker makes a tracker that knows no claims. It is to be told of them as an informer's event handler.
func NewTracker() *Tracker {
	return &Tracker{claims: map[types.NamespacedName]*known{}, promised: map[types.UID]*promise{}, taken: newLedger()}
}

func keyOf(claim *resourcev1.ResourceClaim) types.NamespacedName {
	return types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
}

// OnAdd takes in a claim from the informer.
func (t *Tracker) OnAdd(obj any, _ bool) { t.informed(obj) }

// OnUpdate takes in a claim's new state from the informer.
func (t *Tracker) OnUpdate(_, obj any) { t.informed(obj) }

func (t *Tracker) informed(obj any) {
	claim, ok := obj.(*resourcev1.ResourceClaim)
	if !ok {
		return
	}
	t.mu.Lock()
	entry, found := t.claims[keyOf(claim)]
	if !found {
		entry = &known{}
		t.claims[keyOf(claim)] = entry
	}
	entry.informed = claim
	was := entry.current
	if was != nil && was.UID == claim.UID && newer(was, claim) {
		// The watch is behind what was written here.
		t.mu.Unlock()
		return
	}
	t.replace(entry, claim)
	t.mu.Unlock()
	t.tell(was, claim)
}

// OnDelete forgets a claim.
func (t *Tracker) OnDelete(obj any) {
	if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	claim, ok := obj.(*resourcev1.ResourceClaim)
	if !ok {
		return
	}
	t.mu.Lock()
	entry, found := t.claims[keyOf(claim)]
	if !found {
		t.mu.Unlock()
		return
	}
	was := entry.current
	t.replace(entry, nil)
	delete(t.claims, keyOf(claim))
	t.mu.Unlock()
	t.tell(was, nil)
}

// newer tells whether a is a later state than b. States that cannot be compared are taken as they come.
func newer(a, b *resourcev1.ResourceClaim) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order > 0
}

// replace makes a state the current one; the lock is held.
func (t *Tracker) replace(entry *known, claim *resourcev1.ResourceClaim) {
	t.taken.release(entry.current)
	t.taken.take(claim)
	entry.current = claim
	if t.change != nil {
		close(t.change)
		t.change = nil
	}
}

func (t *Tracker) changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.change == nil {
		t.change = make(chan struct{})
	}
	return t.change
}

// listen makes handler hear of every change of current states, those by this scheduler included, with no lock held.
func (t *Tracker) listen(handler cache.ResourceEventHandler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handlers = append(t.handlers, handler)
}

func (t *Tracker) tell(was, is *resourcev1.ResourceClaim) {
	t.mu.RLock()
	handlers := t.handlers
	t.mu.RUnlock()
	for _, handler := range handlers {
		switch {
		case was == nil && is != nil:
			handler.OnAdd(is, false)
		case was != nil && is == nil:
			handler.OnDelete(was)
		case was != nil:
			handler.OnUpdate(was, is)
		}
	}
}

// Get returns a claim in its newest state.
func (t *Tracker) Get(namespace, name string) (*resourcev1.ResourceClaim, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if entry, found := t.claims[types.NamespacedName{Namespace: namespace, Name: name}]; found {
		return entry.current, nil
	}
	return nil, apierrors.NewNotFound(resourcev1.Resource("resourceclaims"), name)
}

// List returns all claims in their newest states.
func (t *Tracker) List() ([]*resourcev1.ResourceClaim, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*resourcev1.ResourceClaim, 0, len(t.claims))
	for _, entry := range t.claims {
		list = append(list, entry.current)
	}
	return list, nil
}

// ListAllAllocatedDevices returns the devices that are held as a whole.
func (t *Tracker) ListAllAllocatedDevices() (sets.Set[structured.DeviceID], error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.held().whole, nil
}

// GatherAllocatedState returns all devices and parts of devices that are held.
func (t *Tracker) GatherAllocatedState() (*structured.AllocatedState, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	held := t.held()
	return &structured.AllocatedState{AllocatedDevices: held.whole, AllocatedSharedDeviceIDs: held.shares, AggregatedCapacity: held.capacity}, nil
}

// held is a copy of what is taken with what is promised on top.
func (t *Tracker) held() *ledger {
	held := t.taken.clone()
	for _, p := range t.promised {
		held.take(p.claim)
	}
	return held
}

// SignalClaimPendingAllocation promises an allocation, or joins in a promise.
func (t *Tracker) SignalClaimPendingAllocation(uid types.UID, allocated *resourcev1.ResourceClaim) error {
	if allocated == nil || allocated.Status.Allocation == nil {
		return fmt.Errorf("claim %s: nothing allocated", uid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, found := t.promised[uid]; found {
		p.sharers++
		return nil
	}
	if entry, found := t.claims[keyOf(allocated)]; found && entry.current.UID == uid && entry.current.Status.Allocation != nil {
		// It has been written since the cycle looked.
		return nil
	}
	t.promised[uid] = &promise{claim: allocated, sharers: 1}
	return nil
}

// GetPendingAllocation returns what is promised to a claim, or nil.
func (t *Tracker) GetPendingAllocation(uid types.UID) *resourcev1.AllocationResult {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p, found := t.promised[uid]; found {
		return p.claim.Status.Allocation
	}
	return nil
}

// MaybeRemoveClaimPendingAllocation takes a promise back once its last sharer does, or by force; it says whether it is
// gone thereby.
func (t *Tracker) MaybeRemoveClaimPendingAllocation(uid types.UID, force bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, found := t.promised[uid]
	if !found {
		return false
	}
	if p.sharers--; p.sharers > 0 && !force {
		return false
	}
	delete(t.promised, uid)
	return true
}

// AssumeClaimAfterAPICall takes in a state that the API server answered with. A claim that the watch has not told of
// yet is one that this scheduler created.
func (t *Tracker) AssumeClaimAfterAPICall(claim *resourcev1.ResourceClaim) error {
	t.mu.Lock()
	entry, found := t.claims[keyOf(claim)]
	if !found {
		entry = &known{}
		t.claims[keyOf(claim)] = entry
	}
	was := entry.current
	if was != nil && (was.UID != claim.UID || newer(was, claim)) {
		t.mu.Unlock()
		return fmt.Errorf("claim %s changed since: resource version %s is newer than %s", klog.KObj(claim), was.ResourceVersion, claim.ResourceVersion)
	}
	t.replace(entry, claim)
	t.mu.Unlock()
	t.tell(was, claim)
	return nil
}

// AssumedClaimRestore goes back to the state that the watch told.
func (t *Tracker) AssumedClaimRestore(namespace, name string) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	t.mu.Lock()
	entry, found := t.claims[key]
	if !found || entry.current == entry.informed {
		t.mu.Unlock()
		return
	}
	was, is := entry.current, entry.informed
	t.replace(entry, is)
	if is == nil {
		delete(t.claims, key)
	}
	t.mu.Unlock()
	t.tell(was, is)
}
