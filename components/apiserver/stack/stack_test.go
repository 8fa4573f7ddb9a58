package stack

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type creater struct{ depth int }

// New goes as deep as a write does.
func (c creater) New(schema.GroupVersionKind) (runtime.Object, error) {
	descend(c.depth, 0)
	return nil, nil
}

//go:noinline
func descend(calls, sum int) int {
	frame := [16]int{sum}
	if calls == 0 {
		return frame[sum%16]
	}
	return descend(calls-1, frame[calls%16]) + frame[(calls+1)%16]
}

// BenchmarkGoroutine compares goroutines that go deep: with a stack that is large at once, and with one that grows.
func BenchmarkGoroutine(b *testing.B) {
	const depth = 50 // of 176 bytes each
	for name, c := range map[string]runtime.ObjectCreater{"at once": Creater{creater{depth}}, "by and by": creater{depth}} {
		b.Run(name, func(b *testing.B) {
			done := make(chan struct{})
			for b.Loop() {
				go func() {
					_, _ = c.New(schema.GroupVersionKind{Kind: "Pod"})
					done <- struct{}{}
				}()
				<-done
			}
		})
	}
}
