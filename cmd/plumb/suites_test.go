package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// start runs a script as suites are run. What it says, read to the end, is all that it and
// every process it started have said: the end comes when none of them is left.
func start(ctx context.Context, t *testing.T, grace time.Duration, script string) (said *bufio.Scanner, ended <-chan error) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	run := exec.CommandContext(ctx, "sh", "-c", script)
	run.Stdout = write
	result := make(chan error, 1)
	go func() {
		result <- errors.Join(runSuites(run, grace), write.Close())
	}()
	return bufio.NewScanner(read), result
}

// TestInterruptedSuitesEnd interrupts a program that, as Ginkgo's does, waits for another
// that does not end.
func TestInterruptedSuitesEnd(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	said, ended := start(ctx, t, 100*time.Millisecond,
		`trap 'echo interrupted' INT; sh -c 'trap "" INT; echo running; exec sleep 1000' & while :; do wait; done`)
	if !said.Scan() || said.Text() != "running" {
		t.Fatalf("the program says %q", said.Text())
	}
	interrupt()
	interrupts := 0
	for said.Scan() {
		interrupts++
	}
	if interrupts != 1 {
		t.Errorf("the program was interrupted %d times, want once", interrupts)
	}
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) {
		t.Errorf("it ended with %v", err)
	}
}

func TestWhatSuitesLeaveIsEnded(t *testing.T) {
	said, ended := start(t.Context(), t, time.Minute, "sleep 1000 & echo done")
	for said.Scan() {
		if said.Text() != "done" {
			t.Errorf("the program says %q", said.Text())
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
