package runner_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/report"
	"github.com/plumbline/plumbline/conformance/runner"
	"github.com/plumbline/plumbline/conformance/suite"
	"github.com/plumbline/plumbline/framework/cache"
)

// count is how often a spec was run.
func count(dir, name string) int {
	data, err := os.ReadFile(filepath.Join(dir, "ran"))
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.TrimSpace(line) == name {
			n++
		}
	}
	return n
}

// stage is a fake suite and what is needed to run it.
type stage struct {
	dir     string
	program suite.Program
	listing *suite.Listing
	plan    journal.Plan
	// beside are the directories of further clusters.
	beside []string
}

func newStage(t *testing.T, dir string, without ...string) *stage {
	t.Helper()
	s := &stage{dir: dir, program: fakeProgram(t, dir)}
	listing, err := s.program.List(t.Context(), cache.Store{Dir: filepath.Join(os.TempDir(), fmt.Sprintf("plumb-fake-suites-%d", os.Getuid()))})
	if err != nil {
		t.Fatal(err)
	}
	s.listing = listing
	s.plan = journal.Plan{Suite: catalogue.Kubernetes, Description: listing.Description, Specs: len(listing.Specs), Retries: 1, Started: time.Now()}
	for _, spec := range listing.Specs {
		if !slices.Contains(without, spec.Name) {
			s.plan.Behaviours = append(s.plan.Behaviours, catalogue.Behaviour{ID: "b " + spec.Name, Spec: spec})
		}
	}
	return s
}

func (s *stage) config(j *journal.Journal) runner.Config {
	config := runner.Config{
		Clusters: []runner.Cluster{{Program: s.program}}, Listing: s.listing, Procs: 3, Retries: s.plan.Retries, Dir: s.dir, Journal: j,
		Limits: runner.Limits{Spec: 2 * time.Second, Grace: time.Second / 2, SetUp: time.Minute},
	}
	for _, dir := range s.beside {
		program := s.program
		program.Env = append(slices.Clone(program.Env), fakeVariable+"="+dir)
		config.Clusters = append(config.Clusters, runner.Cluster{Program: program})
	}
	for _, b := range s.plan.Behaviours {
		config.Items = append(config.Items, runner.Item{Behaviour: b.ID, Spec: b.Spec})
	}
	return config
}

// verdicts runs what is left and returns what came of everything.
func (s *stage) verdicts(t *testing.T) map[string]report.Verdict {
	t.Helper()
	j, err := journal.Open(filepath.Join(s.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	config := s.config(j)
	if err := runner.Run(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if !runner.Settled(config.Items, j.Records(), config.Retries) {
		t.Error("the run has ended and not everything is settled")
	}
	verdicts := map[string]report.Verdict{}
	for _, r := range report.Compile(s.plan, j.Records()).Results {
		verdicts[strings.TrimPrefix(r.Behaviour, "b ")] = r.Verdict
	}
	return verdicts
}

// want is what comes of the fake suite with one retry.
func want() map[string]report.Verdict {
	verdicts := map[string]report.Verdict{
		"fails": report.Failed, "flakes": report.Flaked, "skips": report.Skipped,
		"hangs": report.Failed, "hangs with deaf ears": report.Failed, "dies": report.Failed,
		"alone by name [Serial]": report.Passed, "in order step 0": report.Passed, "in order step 1": report.Passed,
		"in order step 2": report.Passed, "in order step fails": report.Failed, "in order step hangs": report.Failed,
		"in order last step": report.Passed,
	}
	for i := range 12 {
		verdicts[fmt.Sprintf("passes %d", i)] = report.Passed
	}
	return verdicts
}

func expectVerdicts(t *testing.T, got, want map[string]report.Verdict) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%q came out as %q, not as %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d verdicts, not %d", len(got), len(want))
	}
}

func TestEverySpecComesToItsEnd(t *testing.T) {
	s := newStage(t, t.TempDir())
	expectVerdicts(t, s.verdicts(t), want())
	for name, times := range map[string]int{"passes 3": 1, "fails": 2, "flakes": 2, "skips": 1, "hangs": 2, "dies": 2, "step 1": 1} {
		if got := count(s.dir, name); got != times {
			t.Errorf("%q was run %d times, not %d", name, got, times)
		}
	}
	records, err := journal.Read(filepath.Join(s.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		named := strings.Contains(r.Behaviour, "hangs")
		if hung := strings.Contains(r.Hung, "hung"); hung != named {
			t.Errorf("%q is said to hang: %v (%q)", r.Behaviour, hung, r.Hung)
		}
		if strings.HasSuffix(r.Behaviour, "dies") && !strings.Contains(r.Hung, "exit status 3") {
			t.Errorf("nothing tells that the process died: %q", r.Hung)
		}
	}
	awaitDeath(t, s.dir)
}

// slow are the specs that a test leaves out when it is not about them.
func slow() []string {
	return []string{"hangs", "hangs with deaf ears", "in order step hangs"}
}

const childVariable = "PLUMB_RUNNER_CHILD"

// TestRunnerProcess is a runner of its own, to be killed.
func TestRunnerProcess(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		t.Skip("is run by another test")
	}
	s := newStage(t, dir, slow()...)
	j, err := journal.Open(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	config := s.config(j)
	config.Events = func(e runner.Event) {
		if e.Ended != nil {
			fmt.Println("ended " + e.Ended.Behaviour)
		}
	}
	if err := runner.Run(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// killAfter runs a runner process and kills it when it has told of n ends.
func killAfter(t *testing.T, dir string, n int) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), own, "-test.run=^TestRunnerProcess$", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for n > 0 && lines.Scan() {
		if strings.Contains(lines.Text(), "ended ") {
			n--
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	awaitDeath(t, dir)
}

func TestAKilledRunIsResumedToTheSameEnd(t *testing.T) {
	uninterrupted := newStage(t, t.TempDir(), slow()...).verdicts(t)

	s := newStage(t, t.TempDir(), slow()...)
	for _, n := range []int{2, 5, 7} {
		killAfter(t, s.dir, n)
	}
	// A line that was cut off in the middle must not count, nor spoil what follows.
	torn, err := os.OpenFile(filepath.Join(s.dir, journalName), os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(torn, `{"behaviour":"b passes 11","attempt":1,"report":{"Sta`)
	torn.Close()
	before, err := journal.Read(filepath.Join(s.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	if len(before) < 14 {
		t.Errorf("after three kills the journal holds %d records of the 14 that were told of", len(before))
	}
	resumed := s.verdicts(t)
	expectVerdicts(t, resumed, uninterrupted)
	expected := want()
	for _, name := range slow() {
		delete(expected, name)
	}
	expectVerdicts(t, resumed, expected)
	after, err := journal.Read(filepath.Join(s.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	attempts := map[string]bool{}
	for _, r := range after {
		key := fmt.Sprint(r.Behaviour, r.Attempt)
		if attempts[key] {
			t.Errorf("attempt %d at %q is in the journal twice", r.Attempt, r.Behaviour)
		}
		attempts[key] = true
	}
}

func TestSeveralClustersShareARun(t *testing.T) {
	s := newStage(t, t.TempDir(), slow()...)
	expected := want()
	for _, name := range slow() {
		delete(expected, name)
	}
	// Another cluster is another environment, which the fake suite notes in a directory of
	// its own what it was run in.
	s.beside = []string{t.TempDir(), t.TempDir()}
	expectVerdicts(t, s.verdicts(t), expected)
	if count(s.dir, "passes 3") != 1 {
		t.Error("what runs side by side did not run on the first cluster")
	}
	for name, times := range map[string]int{"alone by name [Serial]": 1, "step 0": 1, "step fails": 2, "last step": 1} {
		ran := []int{count(s.dir, name), count(s.beside[0], name), count(s.beside[1], name)}
		if ran[0] != 0 || ran[1]+ran[2] != times {
			t.Errorf("%q was run %v times, not %d in all on the clusters beside the first", name, ran, times)
		}
	}
	for _, dir := range s.beside {
		if n := count(dir, "passes 3"); n != 0 {
			t.Errorf("what runs side by side ran %d times beside what runs alone", n)
		}
		awaitDeath(t, dir)
	}
}

func TestAnInterruptedRunWritesNothingDownOfWhatItBrokeOff(t *testing.T) {
	s := newStage(t, t.TempDir())
	j, err := journal.Open(filepath.Join(s.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ctx, cancel := context.WithCancel(t.Context())
	config := s.config(j)
	config.Limits.Spec = time.Minute
	config.Events = func(e runner.Event) {
		if e.Started == "b hangs" {
			cancel()
		}
	}
	if err := runner.Run(ctx, config); !runner.Interrupted(err) {
		t.Fatalf("an interrupted run ended with %v", err)
	}
	for _, r := range j.Records() {
		if strings.Contains(r.Behaviour, "hangs") {
			t.Errorf("%q was broken off and is in the journal: %s", r.Behaviour, r.Report.State)
		}
	}
	awaitDeath(t, s.dir)
}

func TestASetUpThatFailsEndsTheRun(t *testing.T) {
	s := newStage(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(s.dir, "broken"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(filepath.Join(s.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	err = runner.Run(t.Context(), s.config(j))
	if err == nil || !strings.Contains(err.Error(), "made of cheese") {
		t.Errorf("the error does not say why the set-up failed: %v", err)
	}
	if n := len(j.Records()); n > 0 {
		t.Errorf("%d records of a suite that never began", n)
	}
}

func TestFailuresOfADeadClusterAreNotWrittenDown(t *testing.T) {
	s := newStage(t, t.TempDir(), slow()...)
	j, err := journal.Open(filepath.Join(s.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	config := s.config(j)
	config.Clusters[0].Alive = func(context.Context) error { return errors.New("connection refused") }
	err = runner.Run(t.Context(), config)
	if err == nil || !strings.Contains(err.Error(), "no longer answers: connection refused") {
		t.Errorf("the run ended with %v", err)
	}
	for _, r := range j.Records() {
		if r.Report.Failed() && r.Hung == "" {
			t.Errorf("%q failed against a cluster that was gone, and is in the journal", r.Behaviour)
		}
	}
}
