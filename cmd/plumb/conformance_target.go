package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/preflight"
	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/conformance/session"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/supervisor"
)

// targetFlags say which cluster is tested.
type targetFlags struct {
	name       string
	kubeconfig string
	nodes      int
	clusters   int
	reference  []string
}

func (t *targetFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&t.name, "name", "", "test this cluster of this host (default: boot one for the run)")
	flags.StringVar(&t.kubeconfig, "kubeconfig", "", "test this cluster, of whatever kind")
	flags.IntVar(&t.nodes, "nodes", 2, "number of nodes of a cluster that is booted")
	flags.StringArrayVar(&t.reference, "reference", nil, "NAME[,NAME...]: boot with Kubernetes' own component in the place of ours: "+strings.Join(reference.Names(), ", ")+", or "+reference.All)
	flags.IntVar(&t.clusters, "clusters", 1, "boot so many clusters: the first takes what runs side by side, the others what runs alone")
}

// open finds the cluster, or boots as many as are wanted, which done takes down.
func (t *targetFlags) open(cmd *cobra.Command) (targets []session.Target, done func(), err error) {
	if t.clusters < 1 {
		return nil, nil, errors.New("--clusters must be more than zero")
	}
	if t.name != "" || t.kubeconfig != "" {
		if t.clusters > 1 {
			return nil, nil, errors.New("--clusters is about clusters that are booted for the run, and excludes --name and --kubeconfig")
		}
		if len(t.reference) > 0 {
			return nil, nil, errors.New("--reference is about a cluster that is booted for the run, and excludes --name and --kubeconfig")
		}
		target, err := t.find(cmd)
		return []session.Target{target}, func() {}, err
	}
	names, err := reference.Parse(t.reference)
	if err != nil {
		return nil, nil, fmt.Errorf("--reference: %w", err)
	}
	var ends []func()
	done = func() {
		for _, end := range ends {
			end()
		}
	}
	for number := range t.clusters {
		target, end, err := t.boot(cmd, number, names)
		if err != nil {
			done()
			return nil, nil, err
		}
		targets, ends = append(targets, target), append(ends, end)
	}
	return targets, done, nil
}

// boot boots one of the clusters, with Kubernetes' own components of these names.
func (t *targetFlags) boot(cmd *cobra.Command, number int, theirs []string) (target session.Target, done func(), err error) {
	description := descriptionForRun(t.nodes)
	if number > 0 {
		description.Metadata.Name = fmt.Sprintf("%s-%d", description.Metadata.Name, number+1)
	}
	screen := newScreen(cmd, outputFlag{})
	err = reference.Place(cmd.Context(), description, theirs, screen.step)
	screen.clear()
	if err != nil {
		return target, nil, fmt.Errorf("--reference: %w", err)
	}
	if err := description.Validate(); err != nil {
		return target, nil, err
	}
	return bootForRun(cmd, description, t.words(theirs))
}

// words say what is booted.
func (t *targetFlags) words(theirs []string) string {
	components := "Plumbline's components"
	if len(theirs) > 0 {
		components += " with Kubernetes' own " + strings.Join(theirs, ", ")
	}
	if t.clusters > 1 {
		return fmt.Sprintf("%d clusters of %s, nodes of each: %d", t.clusters, components, t.nodes)
	}
	return fmt.Sprintf("a cluster of %s, nodes: %d", components, t.nodes)
}

// find finds the cluster that is named.
func (t *targetFlags) find(cmd *cobra.Command) (target session.Target, err error) {
	switch {
	case t.name != "" && t.kubeconfig != "":
		return target, errors.New("--name and --kubeconfig exclude each other")
	case t.name != "":
		client, err := supervisor.Connect(t.name)
		if err != nil {
			return target, err
		}
		return session.Target{Cluster: "cluster " + client.Name() + " of this host", Name: client.Name(), Kubeconfig: client.Kubeconfig()}, nil
	}
	path, err := filepath.Abs(t.kubeconfig)
	if err != nil {
		return target, err
	}
	found, err := preflight.Connect(cmd.Context(), path)
	if err != nil {
		return target, err
	}
	return session.Target{Cluster: found.Host, Kubeconfig: path}, nil
}

// descriptionForRun describes a cluster that has what the suites run.
func descriptionForRun(nodes int) *v1alpha1.Cluster {
	description := v1alpha1.New(fmt.Sprintf("conformance-%d", os.Getpid()), nodes)
	description.Spec.Images = []string{conformanceSet}
	description.Default()
	return description
}

// stateNeeded is what a cluster's machines must have room for.
const stateNeeded = 2 << 30

// bootForRun boots a cluster that ends with this process, or when done is called.
func bootForRun(cmd *cobra.Command, description *v1alpha1.Cluster, words string) (target session.Target, done func(), err error) {
	if err := preflight.Disk(cluster.StateRoot(), stateNeeded); err != nil {
		return target, nil, err
	}
	begun := time.Now()
	screen := newScreen(cmd, outputFlag{})
	own, err := os.Executable()
	if err != nil {
		return target, nil, err
	}
	c, err := cluster.New(cmd.Context(), description, cluster.WithBinary(own), cluster.WithImageSets(imageSets()...), cluster.WithSteps(screen.step),
		cluster.WithProgress(func(p cluster.Phase) { screen.phase(time.Since(begun), p.Text) }))
	screen.clear()
	if err != nil {
		return target, nil, err
	}
	stop, err := supervisor.Serve(c, c.Down)
	if err != nil {
		return target, nil, errors.Join(err, c.Down())
	}
	target = session.Target{Cluster: words, Name: c.Name(), Kubeconfig: filepath.Join(c.Directory(), cluster.KubeconfigFile)}
	return target, func() {
		stop()
		if err := c.Down(); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "take the cluster down: %v\n", err)
		}
	}, nil
}

// suiteFlags say which compiled suite is run.
type suiteFlags struct {
	kind string
	path string
}

func (s *suiteFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&s.kind, "suite", catalogue.Kubernetes, catalogue.Kubernetes+" or "+catalogue.Plumbline+": whose behaviours")
	flags.StringVar(&s.path, "suite-binary", "", "compiled suite to run (default: the one that belongs to --suite)")
}

// kinds are the suites to look into where not one of them was asked for.
func (s *suiteFlags) kinds(cmd *cobra.Command) []string {
	if cmd.Flags().Changed("suite") || s.path != "" {
		return []string{s.kind}
	}
	return []string{catalogue.Kubernetes, catalogue.Plumbline}
}

// find returns the path of a suite's program, and builds upstream's where the cache
// lacks it.
func (s *suiteFlags) find(cmd *cobra.Command) (string, error) {
	if s.path != "" {
		return filepath.Abs(s.path)
	}
	switch s.kind {
	case catalogue.Plumbline:
		return findSuite("")
	case catalogue.Kubernetes:
		screen := screenOn(cmd)
		defer screen.clear()
		set, err := reference.Build(cmd.Context(), reference.Suite(), screen.step)
		if err != nil {
			return "", fmt.Errorf("build Kubernetes' suite, or name it with --suite-binary: %w", err)
		}
		return set.Path(reference.SuiteProgram), nil
	default:
		return "", fmt.Errorf("--suite: %q is not %s or %s", s.kind, catalogue.Kubernetes, catalogue.Plumbline)
	}
}
