package deployment

import (
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func deploymentOf(replicas int32, surge, unavailable string) *appsv1.Deployment {
	maxSurge, maxUnavailable := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To(replicas),
		Strategy: appsv1.DeploymentStrategy{
			Type:          appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &maxSurge, MaxUnavailable: &maxUnavailable},
		},
	}}
}

// setOf makes a set of an age in minutes, with pods in the status.
func setOf(name string, age, spec, pods, available int32) *appsv1.ReplicaSet {
	born := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).Add(-time.Duration(age) * time.Minute)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(born), Annotations: map[string]string{}},
		Spec:       appsv1.ReplicaSetSpec{Replicas: ptr.To(spec)},
		Status:     appsv1.ReplicaSetStatus{Replicas: pods, AvailableReplicas: available},
	}
}

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		name               string
		d                  *appsv1.Deployment
		surge, unavailable int32
	}{
		{"percentages round surge up and unavailability down", deploymentOf(10, "25%", "25%"), 3, 2},
		{"nothing at all becomes one unavailable", deploymentOf(3, "0", "10%"), 0, 1},
		{"unavailability is bounded by the size", deploymentOf(2, "1", "5"), 1, 2},
		{"no replicas", deploymentOf(0, "1", "1"), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if surge, unavailable := bounds(c.d); surge != c.surge || unavailable != c.unavailable {
				t.Errorf("got %d, %d, want %d, %d", surge, unavailable, c.surge, c.unavailable)
			}
		})
	}
}

func TestNewSize(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh *appsv1.ReplicaSet
		old   []*appsv1.ReplicaSet
		want  int32
	}{
		{"no old set: all at once", nil, nil, 10},
		{"surge only", nil, []*appsv1.ReplicaSet{setOf("old", 1, 10, 10, 10)}, 3},
		{"room from a reduction", setOf("new", 0, 3, 3, 3), []*appsv1.ReplicaSet{setOf("old", 1, 8, 8, 8)}, 5},
		{"a reduction whose pods are still there gives no room", setOf("new", 0, 3, 3, 3), []*appsv1.ReplicaSet{setOf("old", 1, 8, 10, 10)}, 3},
		{"never above the desired count", setOf("new", 0, 9, 9, 9), []*appsv1.ReplicaSet{setOf("old", 1, 0, 0, 0)}, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := newSize(deploymentOf(10, "3", "2"), c.fresh, c.old); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestReduction(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh *appsv1.ReplicaSet
		old   []*appsv1.ReplicaSet
		want  map[string]int32
	}{
		{"at the start, what may be unavailable", setOf("new", 0, 3, 0, 0), []*appsv1.ReplicaSet{setOf("old", 1, 10, 10, 10)}, map[string]int32{"old": 2}},
		{"new pods that are not available win nothing", setOf("new", 0, 3, 3, 0), []*appsv1.ReplicaSet{setOf("old", 1, 8, 8, 8)}, nil},
		{"new pods that are available replace old ones", setOf("new", 0, 5, 5, 3), []*appsv1.ReplicaSet{setOf("old", 1, 8, 8, 8)}, map[string]int32{"old": 3}},
		{"unavailable old pods go first, whatever their age", setOf("new", 0, 3, 3, 0), []*appsv1.ReplicaSet{setOf("older", 2, 6, 6, 6), setOf("broken", 1, 4, 4, 0)}, map[string]int32{"broken": 2}},
		{"the oldest set goes first", setOf("new", 0, 5, 5, 5), []*appsv1.ReplicaSet{setOf("younger", 1, 4, 4, 4), setOf("older", 2, 4, 4, 4)}, map[string]int32{"older": 4, "younger": 1}},
		{"a status that lags behind a reduction is not believed", setOf("new", 0, 3, 3, 0), []*appsv1.ReplicaSet{setOf("old", 1, 8, 10, 10)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := reduction(deploymentOf(10, "3", "2"), c.fresh, c.old)
			for _, set := range c.old {
				if got[set] != c.want[set.Name] {
					t.Errorf("%s: got %d, want %d", set.Name, got[set], c.want[set.Name])
				}
			}
		})
	}
}

// Every step of a simulated rollout must keep within the bounds, and it must get to the end.
func TestRolloutKeepsWithinBounds(t *testing.T) {
	for _, limits := range [][2]string{{"25%", "25%"}, {"1", "0"}, {"0", "1"}, {"100%", "0"}, {"0", "100%"}, {"3", "5"}} {
		for _, replicas := range []int32{1, 2, 3, 7, 10, 50} {
			d := deploymentOf(replicas, limits[0], limits[1])
			surge, unavailable := bounds(d)
			old, fresh := setOf("old", 1, replicas, replicas, replicas), setOf("new", 0, 0, 0, 0)
			for step := 0; size(fresh) < replicas || size(old) > 0; step++ {
				if step > 500 {
					t.Fatalf("%v of %d: no end in sight: new %d, old %d", limits, replicas, size(fresh), size(old))
				}
				fresh.Spec.Replicas = ptr.To(newSize(d, fresh, []*appsv1.ReplicaSet{old}))
				cut := reduction(d, fresh, []*appsv1.ReplicaSet{old})[old]
				old.Spec.Replicas = ptr.To(size(old) - cut)
				if total := size(fresh) + size(old); total > replicas+surge {
					t.Fatalf("%v of %d: %d pods, more than %d", limits, replicas, total, replicas+surge)
				}
				// Deletions take effect at once, pods become available one by one.
				old.Status.Replicas, old.Status.AvailableReplicas = size(old), size(old)
				fresh.Status.Replicas = size(fresh)
				if left := fresh.Status.AvailableReplicas + old.Status.AvailableReplicas; left < replicas-unavailable {
					t.Fatalf("%v of %d: %d available, fewer than %d", limits, replicas, left, replicas-unavailable)
				}
				if fresh.Status.AvailableReplicas < size(fresh) {
					fresh.Status.AvailableReplicas++
				}
			}
		}
	}
}

func TestProportional(t *testing.T) {
	annotated := func(set *appsv1.ReplicaSet, greatest int) *appsv1.ReplicaSet {
		set.Annotations[maxReplicasAnnotation] = strconv.Itoa(greatest)
		return set
	}
	for _, c := range []struct {
		name string
		d    *appsv1.Deployment
		sets []*appsv1.ReplicaSet
		want map[string]int32
	}{
		{"the documentation's example: 10 to 15 in mid-update", deploymentOf(15, "3", "2"),
			[]*appsv1.ReplicaSet{annotated(setOf("old", 2, 8, 8, 8), 13), annotated(setOf("new", 1, 5, 5, 0), 13)}, map[string]int32{"old": 11, "new": 7}},
		{"down in proportion", deploymentOf(5, "0", "1"),
			[]*appsv1.ReplicaSet{annotated(setOf("old", 2, 8, 8, 8), 10), annotated(setOf("new", 1, 2, 2, 2), 10)}, map[string]int32{"old": 4, "new": 1}},
		{"to nothing", deploymentOf(0, "1", "1"),
			[]*appsv1.ReplicaSet{annotated(setOf("old", 2, 8, 8, 8), 10), annotated(setOf("new", 1, 2, 2, 2), 10)}, map[string]int32{"old": 0, "new": 0}},
		{"growth of equals favours the newer", deploymentOf(3, "0", "1"),
			[]*appsv1.ReplicaSet{annotated(setOf("old", 2, 1, 1, 1), 2), annotated(setOf("new", 1, 1, 1, 1), 2)}, map[string]int32{"old": 1, "new": 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := proportional(c.d, c.sets)
			for _, set := range c.sets {
				if got[set] != c.want[set.Name] {
					t.Errorf("%s: got %d, want %d", set.Name, got[set], c.want[set.Name])
				}
			}
		})
	}
}

func TestProgressDeadline(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	d := deploymentOf(1, "1", "1")
	d.Spec.ProgressDeadlineSeconds = ptr.To(int32(60))
	for _, c := range []struct {
		reason  string
		age     time.Duration
		left    time.Duration
		running bool
	}{
		{reasonUpdated, 20 * time.Second, 40 * time.Second, true},
		{reasonUpdated, 2 * time.Minute, 0, true},
		{reasonAvailable, 2 * time.Minute, 0, false},
		{reasonPaused, 2 * time.Minute, 0, false},
		{reasonTimedOut, 0, 0, true},
	} {
		status := appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: c.reason, LastUpdateTime: metav1.NewTime(now.Add(-c.age))}}}
		if left, running := overdue(d, &status, now); left != c.left || running != c.running {
			t.Errorf("%s after %s: got %s, %v, want %s, %v", c.reason, c.age, left, running, c.left, c.running)
		}
	}
}

func TestAnnotateRemembersEarlierRevisions(t *testing.T) {
	d := deploymentOf(1, "1", "1")
	d.Annotations = map[string]string{"team": "a", revisionAnnotation: "7"}
	set := setOf("set", 0, 1, 1, 1)
	set.Annotations[revisionAnnotation] = "2"
	if !annotate(set, d, 5, true) {
		t.Fatal("nothing changed")
	}
	for name, want := range map[string]string{"team": "a", revisionAnnotation: "5", revisionHistoryAnnotation: "2"} {
		if got := set.Annotations[name]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if annotate(set, d, 5, true) {
		t.Error("changed again without a reason")
	}
}
