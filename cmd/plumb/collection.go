package main

import (
	"os"
	"runtime/debug"
	"time"
)

const (
	// startPeriod is how long a component counts as starting.
	startPeriod = 3 * time.Second
	// settlePeriod is after how long what the start needed is given back to the system.
	settlePeriod = 10 * time.Second
	// startPercent lets the heap of a component that starts grow to some eighty
	// megabytes before anything is collected.
	startPercent = 2000
)

// collectLater puts garbage collection off while a component starts: almost
// everything that is allocated then stays, so that collecting is a quarter of the
// start's work, and done for nothing.
func collectLater() {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	usual := debug.SetGCPercent(startPercent)
	time.AfterFunc(startPeriod, func() { debug.SetGCPercent(usual) })
	time.AfterFunc(settlePeriod, func() {
		debug.FreeOSMemory()
		_ = unmapProgram() // if it cannot be, it only looks larger
	})
}
