package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

const mega = 1 << 20

func TestPercent(t *testing.T) {
	for name, c := range map[string]struct {
		live, rate float64
		starting   bool
		want       int
	}{
		"nothing was collected yet":    {0, 0, true, 2000},
		"a start":                      {10 * mega, 50 * mega, true, 800},
		"a start with much to take in": {200 * mega, 50 * mega, true, 100},
		"a small heap at rest":         {6 * mega, mega / 10, false, 200},
		"a small heap in a hurry":      {6 * mega, 1000 * mega, false, 200},
		"a heap in a hurry":            {20 * mega, 100 * mega, false, 200},
		"a large heap in a hurry":      {400 * mega, 100 * mega, false, 100},
		"a large heap at rest":         {400 * mega, mega / 10, false, 3},
	} {
		if got := percent(c.live, c.rate, c.starting); got != c.want {
			t.Errorf("%s: %d %%, want %d", name, got, c.want)
		}
	}
}

// TestLargerHeapsGetASmallerShare: what is added to a heap grows with it, but less than it does.
func TestLargerHeapsGetASmallerShare(t *testing.T) {
	room := func(live float64) float64 { return live * float64(percent(live, 64*mega, false)) / 100 }
	for live := 128.0 * mega; live < 4096*mega; live *= 2 {
		if room(2*live) <= room(live) || room(2*live) > 1.5*room(live) {
			t.Errorf("%.0f MiB have %.0f of room, twice as many %.0f", live/mega, room(live)/mega, room(2*live)/mega)
		}
	}
}

func TestPaceFollowsHowMuchIsAllocated(t *testing.T) {
	begin := time.Now()
	p := pace{at: begin, last: heap{100 * mega, 100 * mega}}
	if got := p.next(heap{100 * mega, 164 * mega}, begin.Add(time.Second)); got != 113 { // 2·√(100·32)
		t.Errorf("after 64 MiB in a second: %d %%", got)
	}
	for range 20 {
		p.next(heap{100 * mega, p.last.allocated + 64*mega}, p.at.Add(time.Second))
	}
	if got := p.next(heap{100 * mega, p.last.allocated + 64*mega}, p.at.Add(time.Second)); got != 159 && got != 160 {
		t.Errorf("after 64 MiB each second: %d %%", got)
	}
	if got := p.next(heap{100 * mega, p.last.allocated + 64*mega}, p.at.Add(time.Hour)); got >= 120 {
		t.Errorf("after a quiet hour: %d %%", got)
	}
}

// TestEachCollectionAdjustsThePace collects, and waits until the pace has heard of it.
func TestEachCollectionAdjustsThePace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	p := &pace{at: time.Now()}
	p.afterEach()
	heard := func() time.Time {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.at
	}
	for range 3 {
		before := heard()
		for heard().Equal(before) {
			runtime.GC()
		}
	}
}

func TestMemoryIsGivenBackOnceItIsCalm(t *testing.T) {
	var c calm
	for i, step := range []struct {
		allocated uint64 // in megabytes, in all
		want      bool
	}{
		{90, true},  // what the start left
		{91, false}, // nothing to speak of
		{140, false},
		{200, false}, // still busy
		{203, true},
		{204, false},
		{209, false}, // little by little ...
		{212, true},  // ... it is worth while again
	} {
		if got := c.after(step.allocated * mega); got != step.want {
			t.Errorf("look %d, after %d MiB: %v", i, step.allocated, got)
		}
	}
}

func TestAllocatedGrows(t *testing.T) {
	before := read().allocated
	kept := make([][]byte, 0, 64)
	for range 64 {
		kept = append(kept, make([]byte, 64<<10))
	}
	if after := read().allocated; after < before+uint64(len(kept))*64<<10 {
		t.Errorf("%d bytes before, %d after %d allocations of 64 KiB", before, after, len(kept))
	}
}
