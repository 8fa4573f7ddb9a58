package preemption

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func TestAwaits(t *testing.T) {
	c := NewCluster(t, Pod("a", On("n")), Pod("b", On("n")), Pod("unbound"), Pod("preemptor"))
	e := NewExecutor(c, "Test")
	gone := func(name string) *v1.Pod {
		pod := Pod(name, On("n"))
		if err := c.Informers.Core().V1().Pods().Informer().GetStore().Delete(pod); err != nil {
			t.Fatal(err)
		}
		return pod
	}
	expect := func(name string, wantAwaited, wantMore bool) {
		t.Helper()
		if awaited, more := e.Awaits("preemptor", gone(name)); awaited != wantAwaited || more != wantMore {
			t.Errorf("%s: awaited %t, more %t", name, awaited, more)
		}
	}
	e.remember(Pod("preemptor"), []*v1.Pod{Pod("a"), Pod("b"), Pod("unbound")})
	expect("stranger", false, false)
	expect("a", true, true)
	expect("b", true, false)
	expect("b", false, false)
	e.remember(Pod("preemptor"), []*v1.Pod{Pod("a"), Pod("b")})
	e.Forget("preemptor")
	expect("a", false, false)
}

func TestPreemptorsThatWaitNoLongerAreForgotten(t *testing.T) {
	c := NewCluster(t, Pod("waiting"), Pod("placed", On("n")))
	e := NewExecutor(c, "Test")
	e.remember(Pod("waiting"), []*v1.Pod{Pod("victim")})
	e.remember(Pod("placed"), []*v1.Pod{Pod("victim")})
	for i := range 10 * leastSweep {
		e.remember(Pod(fmt.Sprint("gone-", i)), []*v1.Pod{Pod("victim")})
	}
	if _, kept := e.victims[types.UID("waiting")]; !kept || len(e.victims) > leastSweep {
		t.Errorf("waiting is kept: %t; %d are remembered", kept, len(e.victims))
	}
	if _, kept := e.victims[types.UID("placed")]; kept {
		t.Error("a pod that has its place is still remembered as waiting")
	}
}
