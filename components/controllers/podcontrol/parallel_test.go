package podcontrol

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestParallelIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 5*atOnce + 3
		var done [count]atomic.Int32
		var under, most atomic.Int32
		begin := time.Now()
		errs := Parallel(count, func(i int) error {
			most.Store(max(most.Load(), under.Add(1)))
			time.Sleep(time.Second)
			under.Add(-1)
			done[i].Add(1)
			if i%2 == 1 {
				return errors.New("odd")
			}
			return nil
		})
		for i := range done {
			if n := done[i].Load(); n != 1 {
				t.Errorf("call %d was made %d times", i, n)
			}
		}
		if len(errs) != count/2 {
			t.Errorf("%d errors of %d calls", len(errs), count)
		}
		if most.Load() > atOnce || time.Since(begin) != 6*time.Second {
			t.Errorf("%d calls at once, in %s", most.Load(), time.Since(begin))
		}
	})
}

func TestSlowStartStopsAtTheFirstFailure(t *testing.T) {
	var calls atomic.Int32
	created, err := SlowStart(1000, func(i int) error {
		if calls.Add(1); i >= 3 {
			return errors.New("no more")
		}
		return nil
	})
	// One, two, four: the third batch fails.
	if created != 3 || err == nil || calls.Load() != 7 {
		t.Errorf("%d created in %d calls, %v", created, calls.Load(), err)
	}
}
