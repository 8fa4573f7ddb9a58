package cycle

import (
	"sync"
	"testing"
)

// TestBindersAreSoMany starts more bindings than may run: the first end only once all that may run have begun.
func TestBindersAreSoMany(t *testing.T) {
	const all = 3*maxBinders + 1
	var b binders
	var mu sync.Mutex
	running, most := 0, 0
	full := make(chan struct{})
	var done sync.WaitGroup
	done.Add(all)
	for range all {
		b.do(func() {
			defer done.Done()
			mu.Lock()
			running++
			if most = max(most, running); running == maxBinders && most == maxBinders {
				select {
				case <-full:
				default:
					close(full)
				}
			}
			mu.Unlock()
			<-full
			mu.Lock()
			running--
			mu.Unlock()
		})
	}
	done.Wait()
	if most != maxBinders {
		t.Errorf("%d ran at a time", most)
	}
}

func TestBindersKeepTheOrder(t *testing.T) {
	b := binders{running: maxBinders}
	var got []int
	for i := range 3 {
		b.do(func() { got = append(got, i) })
	}
	for binding := b.next(); binding != nil; binding = b.next() {
		binding()
	}
	if len(got) != 3 || got[0] != 0 || got[1] != 1 || got[2] != 2 {
		t.Errorf("bound in the order %v", got)
	}
	if b.running != maxBinders-1 {
		t.Errorf("%d are left", b.running)
	}
}
