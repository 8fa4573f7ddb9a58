package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// startPeriod is how long a component counts as starting.
	startPeriod = 3 * time.Second
	// startPercent lets the heap of a component that starts grow to some eighty
	// megabytes before anything is collected.
	startPercent = 2000
	// usualPercent is for the time after: what is allocated in a hurry is collected
	// seldom, since what is left of it goes as soon as the hurry is over.
	usualPercent = 200
	// settlePeriod is how often a component asks itself whether it has become calm.
	settlePeriod = 10 * time.Second
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
	debug.SetGCPercent(startPercent)
	time.AfterFunc(startPeriod, func() { debug.SetGCPercent(usualPercent) })
	var c calm
	var p program
	var look func()
	look = func() {
		if c.after(allocated()) {
			debug.FreeOSMemory()
			_ = p.unmap() // if it cannot be, it only looks larger
		}
		time.AfterFunc(settlePeriod, look)
	}
	time.AfterFunc(settlePeriod, look)
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

// allocated is how many bytes the program has ever allocated on its heap.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
