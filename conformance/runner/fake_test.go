package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/suite"
)

// fakeVariable names the directory that makes this test program a suite.
const fakeVariable = "PLUMB_FAKE_SUITE"

// fakeProgram is this test program as a suite, which notes in dir what it runs.
func fakeProgram(t *testing.T, dir string) suite.Program {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return suite.Program{Path: own, Args: []string{"-test.run=^TestFakeSuite$"}, Env: append(os.Environ(), fakeVariable+"="+dir)}
}

// TestFakeSuite is the suite that the other tests run in processes of its own. It has
// specs of every kind that a runner meets.
func TestFakeSuite(t *testing.T) {
	dir := os.Getenv(fakeVariable)
	if dir == "" {
		t.Skip("is run by the other tests")
	}
	held, err := os.OpenFile(filepath.Join(dir, "alive"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	ginkgo.SynchronizedBeforeSuite(func() []byte {
		if _, err := os.Stat(filepath.Join(dir, "broken")); err == nil {
			ginkgo.Fail("the cluster is made of cheese")
		}
		return []byte("ready")
	}, func(data []byte) {
		if string(data) != "ready" {
			ginkgo.Fail("set up with " + string(data))
		}
	})
	ginkgo.SynchronizedAfterSuite(func() {}, func() {})
	fakeSpecs(dir)
	ginkgo.RunSpecs(t, "fake suite")
}

// journalName is the file, in a stage's directory, that its runners write to.
const journalName = "journal"

func isFlaking(r journal.Record) bool { return r.Behaviour == "b flakes" }

func fakeSpecs(dir string) {
	spec := func(name string, body func()) {
		ginkgo.It(name, func() {
			note(dir, name)
			body()
		})
	}
	for i := range 12 {
		spec(fmt.Sprintf("passes %d", i), func() { time.Sleep(10 * time.Millisecond) })
	}
	spec("fails", func() { ginkgo.Fail("as it always does") })
	spec("flakes", func() {
		// Until its failure is written down: a runner that is killed before that has
		// seen none, and runs the first attempt again.
		if written, err := journal.Read(filepath.Join(dir, journalName)); err != nil || !slices.ContainsFunc(written, isFlaking) {
			ginkgo.Fail(fmt.Sprint("the first time ", err))
		}
	})
	spec("skips", func() { ginkgo.Skip("not here") })
	spec("hangs", func() { select {} })
	spec("hangs with deaf ears", func() {
		ginkgo.DeferCleanup(func() { select {} })
		select {}
	})
	spec("dies", func() { os.Exit(3) })
	spec("alone by name [Serial]", func() {})
	ginkgo.Describe("in order", ginkgo.Ordered, ginkgo.Serial, ginkgo.ContinueOnFailure, func() {
		for i := range 3 {
			spec(fmt.Sprintf("step %d", i), func() {})
		}
		spec("step fails", func() { ginkgo.Fail("alone") })
		spec("step hangs", func() { select {} })
		spec("last step", func() {})
	})
}

// note writes down that a spec was run.
func note(dir, name string) {
	file, err := os.OpenFile(filepath.Join(dir, "ran"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintln(file, name)
}

// awaitDeath returns when no process of the suite lives any more.
func awaitDeath(t *testing.T, dir string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "alive"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dead := make(chan error, 1)
	go func() { dead <- syscall.Flock(int(file.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-dead:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("processes of the suite are alive 30 seconds after whoever started them is gone")
	}
}
