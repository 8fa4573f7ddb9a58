// Package session runs one suite against one cluster into one directory: it looks first
// whether that can work, runs what was chosen or what is left of it, and writes the
// report.
package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/preflight"
	"github.com/plumbline/plumbline/conformance/report"
	"github.com/plumbline/plumbline/conformance/runner"
	"github.com/plumbline/plumbline/conformance/submission"
	"github.com/plumbline/plumbline/conformance/suite"
	"github.com/plumbline/plumbline/framework/cache"
)

// Target is the cluster under test.
type Target struct {
	// Cluster says in words which one it is.
	Cluster string
	// Name is the name it has on this host, if it is one of ours.
	Name string
	// Kubeconfig leads to it.
	Kubeconfig string
}

// Tools are the programs that a session needs.
type Tools struct {
	// Suite is the compiled suite, Kubectl the client that its specs call.
	Suite   string
	Kubectl string
	Store   cache.Store
}

// Choice says what to run.
type Choice struct {
	// Suite is catalogue.Kubernetes or catalogue.Plumbline.
	Suite string
	// Focus are words as catalogue.Focus takes them; Components narrow further to what
	// judges any of them.
	Focus      []string
	Components []string
	Shard      catalogue.Shard
}

// Conduct says how to run it.
type Conduct struct {
	Procs   int
	Retries int
	Limits  runner.Limits
	// Elsewhere runs what is left in the place of runner.Run, if it is set.
	Elsewhere func(context.Context, runner.Config) error
	// Show makes what is told of events, when it is known what the run starts from.
	Show func(soFar report.Totals, retries int) (show func(runner.Event), done func())
}

// Session is what is run.
type Session struct {
	// Targets are clusters that are alike, usually one. Behaviours that must run alone are
	// taken to the others, if there are any.
	Targets []Target
	Tools   Tools
	Choice  Choice
	Conduct Conduct
	// Dir takes everything that the session writes.
	Dir string
}

// roomNeeded is what a run's directory must have room for: the journal and the reports of
// a whole suite whose specs all fail at length.
const roomNeeded = 512 << 20

// Program is a suite as it is started against the target, which has so many nodes. What
// its specs' clients keep goes below a directory.
func (t Target) Program(suiteName string, tools Tools, dir string, nodes int) suite.Program {
	// Clients keep what they discover under an address, and a cluster's address may have
	// been another's.
	env := append(os.Environ(),
		"KUBECACHEDIR="+filepath.Join(dir, "kubectl-cache"),
		"PATH="+filepath.Dir(tools.Kubectl)+string(os.PathListSeparator)+os.Getenv("PATH"),
	)
	if suiteName == catalogue.Plumbline {
		return suite.Program{Path: tools.Suite, Env: append(env,
			"KUBECONFIG="+t.Kubeconfig, "PLUMB_CLUSTER="+t.Name, "PLUMB_KUBECTL="+tools.Kubectl)}
	}
	return suite.Program{Path: tools.Suite, Env: env, Args: []string{
		"--provider=skeleton", "--kubeconfig=" + t.Kubeconfig, "--kubectl-path=" + tools.Kubectl,
		"--num-nodes=" + strconv.Itoa(nodes), "--disable-log-dump",
	}}
}

// Catalogue lists a suite's behaviours.
func Catalogue(ctx context.Context, suiteName, path string, store cache.Store) ([]catalogue.Behaviour, *suite.Listing, error) {
	program := suite.Program{Path: path}
	if suiteName == catalogue.Plumbline {
		return catalogue.OfPlumbline(ctx, program, store)
	}
	return catalogue.OfKubernetes(ctx, program, store)
}

// Run begins a run and takes it to its end.
func (s *Session) Run(ctx context.Context) (report.Results, error) {
	clusters, err := s.look(ctx)
	if err != nil {
		return report.Results{}, err
	}
	all, listing, err := Catalogue(ctx, s.Choice.Suite, s.Tools.Suite, s.Tools.Store)
	if err != nil {
		return report.Results{}, err
	}
	chosen, err := s.Choice.choose(all)
	if err != nil {
		return report.Results{}, err
	}
	itsVersion, err := Version(ctx, s.Choice.Suite, s.Tools)
	if err != nil {
		return report.Results{}, err
	}
	plan := journal.Plan{
		Suite: s.Choice.Suite, Description: listing.Description, Version: itsVersion, Specs: len(listing.Specs),
		Cluster: s.Targets[0].Cluster, Clusters: len(s.Targets), Server: clusters[0].Version,
		Focus: slices.Concat(s.Choice.Focus, s.Choice.Components), Shard: s.Choice.Shard.String(), Procs: s.Conduct.Procs, Retries: s.Conduct.Retries,
		Started: time.Now().UTC().Round(0), Behaviours: chosen,
	}
	j, err := journal.Begin(s.Dir, plan)
	if err != nil {
		return report.Results{}, err
	}
	defer j.Close()
	return s.carryOn(ctx, clusters, plan, j, listing)
}

// Resume goes on with the run whose directory the session has. What to run is in there.
func (s *Session) Resume(ctx context.Context) (report.Results, error) {
	plan, _, err := journal.Load(s.Dir)
	if err != nil {
		return report.Results{}, err
	}
	s.Choice.Suite = plan.Suite
	clusters, err := s.look(ctx)
	if err != nil {
		return report.Results{}, err
	}
	_, listing, err := Catalogue(ctx, plan.Suite, s.Tools.Suite, s.Tools.Store)
	if err != nil {
		return report.Results{}, err
	}
	itsVersion, err := Version(ctx, s.Choice.Suite, s.Tools)
	if err != nil {
		return report.Results{}, err
	}
	for _, same := range []struct{ what, then, now string }{
		{"cluster", plan.Cluster, s.Targets[0].Cluster},
		{"API server's version", plan.Server, clusters[0].Version},
		{"suite's version", plan.Version, itsVersion},
	} {
		if same.then != same.now {
			return report.Results{}, fmt.Errorf("the run in %s cannot be resumed: the %s was %q and is %q now; begin a new one", s.Dir, same.what, same.then, same.now)
		}
	}
	plan, j, err := journal.Resume(s.Dir)
	if err != nil {
		return report.Results{}, err
	}
	defer j.Close()
	return s.carryOn(ctx, clusters, plan, j, listing)
}

func (c Choice) choose(all []catalogue.Behaviour) ([]catalogue.Behaviour, error) {
	chosen, err := catalogue.Focus(all, c.Focus)
	if err != nil {
		return nil, err
	}
	if len(c.Components) > 0 {
		chosen = catalogue.Judging(chosen, c.Components...)
	}
	return c.Shard.Choose(chosen), nil
}

// look finds out what would spoil the run.
func (s *Session) look(ctx context.Context) ([]*preflight.Cluster, error) {
	if err := preflight.Disk(s.Dir, roomNeeded); err != nil {
		return nil, err
	}
	var images []string
	if s.Choice.Suite == catalogue.Kubernetes {
		var err error
		if images, err = s.images(ctx); err != nil {
			return nil, err
		}
	}
	clusters := make([]*preflight.Cluster, len(s.Targets))
	group, ctx := errgroup.WithContext(ctx)
	for i, target := range s.Targets {
		group.Go(func() error {
			var err error
			if clusters[i], err = preflight.Connect(ctx, target.Kubeconfig); err != nil {
				return err
			}
			return clusters[i].Images(ctx, images)
		})
	}
	return clusters, group.Wait()
}

// images are those that most of upstream's specs run, in their newest versions, as the
// suite names them.
func (s *Session) images(ctx context.Context) ([]string, error) {
	answer, err := suite.Program{Path: s.Tools.Suite}.Answer(ctx, s.Tools.Store, "--list-images")
	if err != nil {
		return nil, err
	}
	var images []string
	for _, name := range []string{"registry.k8s.io/e2e-test-images/agnhost", "registry.k8s.io/e2e-test-images/busybox"} {
		newest := ""
		for _, image := range strings.Fields(string(answer)) {
			if tag, ok := strings.CutPrefix(image, name+":"); ok && (newest == "" || older(newest, tag)) {
				newest = tag
			}
		}
		if newest != "" {
			images = append(images, name+":"+newest)
		}
	}
	return images, nil
}

// older compares the tags of two images.
func older(tag, than string) bool {
	a, errA := version.ParseGeneric(tag)
	b, errB := version.ParseGeneric(than)
	return errA == nil && errB == nil && a.LessThan(b)
}

// Version is what a suite says of itself.
func Version(ctx context.Context, suiteName string, tools Tools) (string, error) {
	if suiteName != catalogue.Kubernetes {
		return "", nil
	}
	answer, err := suite.Program{Path: tools.Suite}.Answer(ctx, tools.Store, "--version")
	return strings.TrimSpace(string(answer)), err
}

// carryOn runs what is left and reports.
func (s *Session) carryOn(ctx context.Context, clusters []*preflight.Cluster, plan journal.Plan, j *journal.Journal, listing *suite.Listing) (report.Results, error) {
	if err := report.Withdraw(s.Dir); err != nil {
		return report.Results{}, err
	}
	work := filepath.Join(s.Dir, "processes")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return report.Results{}, err
	}
	config := runner.Config{
		Listing: listing, Procs: plan.Procs, Retries: plan.Retries, Limits: s.Conduct.Limits, Dir: work, Journal: j,
	}
	for i, cluster := range clusters {
		program := s.Targets[i].Program(s.Choice.Suite, s.Tools, filepath.Join(work, strconv.Itoa(i)), len(cluster.Nodes))
		config.Clusters = append(config.Clusters, runner.Cluster{Program: program, Alive: cluster.Alive})
	}
	index := make(map[string]suite.Spec, len(listing.Specs))
	for _, spec := range listing.Specs {
		index[spec.Name] = spec
	}
	for _, b := range plan.Behaviours {
		spec, ok := index[b.Spec.Name]
		if !ok {
			return report.Results{}, fmt.Errorf("the suite no longer holds behaviour %q", b.ID)
		}
		config.Items = append(config.Items, runner.Item{Behaviour: b.ID, Spec: spec})
	}
	if s.Conduct.Show != nil {
		show, done := s.Conduct.Show(report.Compile(plan, j.Records()).Totals, plan.Retries)
		config.Events = show
		defer done()
	}
	run := runner.Run
	if s.Conduct.Elsewhere != nil {
		run = s.Conduct.Elsewhere
	}
	if err := run(ctx, config); err != nil {
		return report.Compile(plan, j.Records()), err
	}
	return Report(s.Dir, plan, j.Records())
}

// Report writes everything that is to be said of a run: the report and, if the run is
// one that can be submitted, the submission.
func Report(dir string, plan journal.Plan, records []journal.Record) (report.Results, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return report.Results{}, err
	}
	results, err := report.Write(dir, plan, records)
	if err != nil {
		return results, err
	}
	err = submission.Write(filepath.Join(dir, "submission"), dir, plan, results, submission.Plumbline())
	if errors.Is(err, submission.ErrPartial) {
		return results, nil
	}
	return results, err
}
