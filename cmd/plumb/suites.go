package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// suiteProgram is the compiled suites, beside this program.
const suiteProgram = "e2e.test"

// clusterVariable tells the suites which running cluster to test.
const clusterVariable = "PLUMB_CLUSTER"

// suitesGrace is how long suites that are interrupted may clean up: Ginkgo gives each
// spec and each clean-up thirty seconds of it.
const suitesGrace = 75 * time.Second

func findSuite(path string) (string, error) {
	if path != "" {
		return filepath.Abs(path)
	}
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	path = filepath.Join(filepath.Dir(own), suiteProgram)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the compiled suites are not at %s: build them with go test -c -o %s ./e2e", path, path)
	}
	return path, nil
}

// runSuites runs a command of suites to its end. When its context ends, it and every process
// that it started are interrupted, and after the grace they are killed: Ginkgo's own program
// does no more than wait for those that run the specs. They are a process group of their
// own, so that a terminal's interrupt reaches them once, by way of here: a second one would
// make them leave the clean-up.
func runSuites(run *exec.Cmd, grace time.Duration) error {
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func(s unix.Signal) { _ = unix.Kill(-run.Process.Pid, s) } // that none is left is as good
	var late *time.Timer
	run.Cancel = func() error {
		end(unix.SIGINT)
		late = time.AfterFunc(grace, func() { end(unix.SIGKILL) })
		return nil
	}
	if err := run.Start(); err != nil {
		return err
	}
	err := run.Wait()
	if late != nil {
		late.Stop()
	}
	end(unix.SIGKILL) // what it started and left
	return err
}
