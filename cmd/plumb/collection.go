package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// startPeriod is how long a component counts as starting.
	startPeriod = 3 * time.Second
	// startRoom is how much the heap of a component that starts grows between two
	// collections, and before the first.
	startRoom = 80 << 20
	// leastRoom is the same for a calm one.
	leastRoom = 12 << 20
	// mostPercent bounds a busy one's, as a part of what is live.
	mostPercent = 200
	// timeWeight is how many times as much processor time weighs as memory does: at 4,
	// twice the room, and half the collections, of where both weigh the same.
	timeWeight = 4
	// settlePeriod is how often a component asks itself whether it has become calm.
	settlePeriod = 10 * time.Second
	// firstHeap is how large a heap is collected first, at 100 %: the runtime's own constant.
	firstHeap = 4 << 20
)

// collectLater puts garbage collection off while a component starts: almost
// everything that is allocated then stays, so that collecting is a quarter of the
// start's work, and done for nothing. For the same reason whoever starts components
// turns collection off, which would else begin before this function is reached; any
// other setting is somebody's wish and stays.
func collectLater() {
	if percent, set := os.LookupEnv("GOGC"); set && percent != "off" {
		return
	}
	p := &pace{at: time.Now(), starting: true}
	debug.SetGCPercent(100 * startRoom / firstHeap)
	p.afterEach()
	var c calm
	var own program
	var look func()
	look = func() {
		if c.after(read().allocated) {
			debug.FreeOSMemory()
			_ = own.unmap() // if it cannot be, it only looks larger
		}
		time.AfterFunc(settlePeriod, look)
	}
	time.AfterFunc(startPeriod, func() {
		p.started()
		_ = own.unmap()
		time.AfterFunc(settlePeriod, look)
	})
}

// heap is what the runtime says of it: the bytes that the last collection found live,
// and those that have ever been allocated.
type heap struct{ live, allocated uint64 }

func read() heap {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return heap{sample[0].Value.Uint64(), sample[1].Value.Uint64()}
}

// pace says when to collect next.
type pace struct {
	mu       sync.Mutex
	starting bool
	at       time.Time // of the last collection that was heard of
	last     heap
	rate     float64 // bytes a second
	percent  int
}

// afterEach adjusts the pace after each collection: what nobody refers to is cleaned up by then.
func (p *pace) afterEach() {
	unreferred := new(*pace)
	runtime.AddCleanup(unreferred, func(p *pace) {
		p.adjust()
		p.afterEach()
	}, p)
}

// started ends the start's own pace.
func (p *pace) started() {
	p.mu.Lock()
	p.starting = false
	p.mu.Unlock()
	p.adjust()
}

func (p *pace) adjust() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if next := p.next(read(), time.Now()); next != p.percent {
		p.percent = next
		debug.SetGCPercent(next)
	}
}

// next is how many percent of what is live may be allocated until the next collection.
func (p *pace) next(now heap, at time.Time) int {
	if passed := at.Sub(p.at).Seconds(); passed > 0 {
		// Half of what is seen now: one burst makes no habit.
		p.rate = (p.rate + float64(now.allocated-p.last.allocated)/passed) / 2
	}
	p.at, p.last = at, now
	return percent(float64(now.live), p.rate, p.starting)
}

// percent is the square root rule: room costs memory in proportion, and collections
// cost time in proportion to what is live and to how fast the room is used up, so the
// sum is least where the room is the root of their product. (Kirisame, Shenoy, Panchekha:
// Optimal Heap Limits for Reducing Browser Memory Use, 2022.) So a small heap is
// collected seldom, a large one in time, and neither when there is nothing to gain.
func percent(live, rate float64, starting bool) int {
	room := max(min(math.Sqrt(timeWeight*live*rate), live*mostPercent/100), leastRoom)
	if starting {
		room = max(room, startRoom)
	}
	// A heap of less than that is all the same to the runtime.
	return int(100 * room / max(live, firstHeap))
}

// calm knows from how much has been allocated when it is worth while to give memory
// back to the system: after a busy time, in a quiet one.
type calm struct {
	seen, released uint64
}

// busyBytes allocated within a period make it a busy one.
const busyBytes = 8 << 20

// after reports whether to give memory back now that so much has been allocated in all.
func (c *calm) after(total uint64) bool {
	quiet := total-c.seen < busyBytes
	first := c.seen == 0
	c.seen = total
	if !first && (!quiet || total-c.released < busyBytes) {
		return false
	}
	c.released = total
	return true
}
