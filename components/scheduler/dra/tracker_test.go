package dra

import (
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/utils/ptr"
)

// claim in a version, holding devices.
func claim(version string, devices ...string) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "claim", UID: "claim", ResourceVersion: version}}
	if len(devices) > 0 {
		c.Status.Allocation = &resourcev1.AllocationResult{}
	}
	for _, name := range devices {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, resourcev1.DeviceRequestAllocationResult{Driver: "driver", Pool: "pool", Device: name})
	}
	return c
}

func holds(t *testing.T, tracker *Tracker, device string, want bool) {
	t.Helper()
	state, err := tracker.GatherAllocatedState()
	if err != nil {
		t.Fatal(err)
	}
	if got := state.AllocatedDevices.Has(structured.MakeDeviceID("driver", "pool", device)); got != want {
		t.Errorf("device %s held: %v, want %v", device, got, want)
	}
}

func TestDeviceIsHeldFromPromiseToDeletion(t *testing.T) {
	tracker := NewTracker()
	tracker.OnAdd(claim("1"), true)
	holds(t, tracker, "a", false)
	if err := tracker.SignalClaimPendingAllocation("claim", claim("1", "a")); err != nil {
		t.Fatal(err)
	}
	holds(t, tracker, "a", true)
	if tracker.GetPendingAllocation("claim") == nil {
		t.Error("no pending allocation")
	}
	if err := tracker.AssumeClaimAfterAPICall(claim("3", "a")); err != nil {
		t.Fatal(err)
	}
	if !tracker.MaybeRemoveClaimPendingAllocation("claim", true) {
		t.Error("the promise was not there")
	}
	holds(t, tracker, "a", true)
	tracker.OnUpdate(claim("1"), claim("2")) // The watch is behind.
	holds(t, tracker, "a", true)
	tracker.OnUpdate(claim("2"), claim("3", "a"))
	tracker.OnUpdate(claim("3", "a"), claim("4"))
	holds(t, tracker, "a", false)
	tracker.OnUpdate(claim("4"), claim("5", "b"))
	tracker.OnDelete(cache.DeletedFinalStateUnknown{Key: "ns/claim", Obj: claim("5", "b")})
	holds(t, tracker, "b", false)
	if _, err := tracker.Get("ns", "claim"); !apierrors.IsNotFound(err) {
		t.Errorf("a deleted claim: %v", err)
	}
}

func TestRestoreGoesBackToWhatTheWatchTold(t *testing.T) {
	tracker := NewTracker()
	tracker.OnAdd(claim("1"), true)
	if err := tracker.AssumeClaimAfterAPICall(claim("2", "a")); err != nil {
		t.Fatal(err)
	}
	tracker.AssumedClaimRestore("ns", "claim")
	holds(t, tracker, "a", false)
	tracker.OnUpdate(claim("1"), claim("9"))
	if err := tracker.AssumeClaimAfterAPICall(claim("2", "a")); err == nil {
		t.Error("an old state was assumed over a new one")
	}
	holds(t, tracker, "a", false)
}

func TestPromiseLastsAsLongAsOneSharer(t *testing.T) {
	tracker := NewTracker()
	tracker.OnAdd(claim("1"), true)
	for range 2 {
		if err := tracker.SignalClaimPendingAllocation("claim", claim("1", "a")); err != nil {
			t.Fatal(err)
		}
	}
	if tracker.MaybeRemoveClaimPendingAllocation("claim", false) {
		t.Error("gone with the first of two")
	}
	holds(t, tracker, "a", true)
	if !tracker.MaybeRemoveClaimPendingAllocation("claim", false) {
		t.Error("still there after both")
	}
	holds(t, tracker, "a", false)
}

func TestSharesAndAdministratorsLeaveTheDeviceToOthers(t *testing.T) {
	tracker := NewTracker()
	c := claim("1", "shared", "watched")
	c.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("share"))
	c.Status.Allocation.Devices.Results[1].AdminAccess = ptr.To(true)
	tracker.OnAdd(c, true)
	holds(t, tracker, "shared", false)
	holds(t, tracker, "watched", false)
	state, _ := tracker.GatherAllocatedState()
	if len(state.AllocatedSharedDeviceIDs) != 1 {
		t.Errorf("shares %v, want one", state.AllocatedSharedDeviceIDs)
	}
}

func TestListenersHearOfWhatIsAssumed(t *testing.T) {
	tracker := NewTracker()
	var heard []string
	tracker.listen(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { heard = append(heard, "add") },
		UpdateFunc: func(_, is any) {
			got, err := tracker.Get("ns", "claim") // No lock is held, and the tracker knows.
			if err != nil || got != is {
				t.Errorf("told of %v while it knows %v (%v)", is, got, err)
			}
			heard = append(heard, "update")
		},
		DeleteFunc: func(any) { heard = append(heard, "delete") },
	})
	changed := tracker.changed()
	tracker.OnAdd(claim("1"), true)
	<-changed
	if err := tracker.AssumeClaimAfterAPICall(claim("2", "a")); err != nil {
		t.Fatal(err)
	}
	tracker.OnDelete(claim("2", "a"))
	if want := 3; len(heard) != want || heard[1] != "update" {
		t.Errorf("heard %v", heard)
	}
}
