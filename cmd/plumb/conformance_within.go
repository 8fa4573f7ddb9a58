package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/plumbline/plumbline/conformance/catalogue"
	conformance "github.com/plumbline/plumbline/conformance/images"
	"github.com/plumbline/plumbline/conformance/incluster"
	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/conformance/runner"
	"github.com/plumbline/plumbline/conformance/session"
	"github.com/plumbline/plumbline/framework/cache"
)

// withinFlags say whether and how a run goes on within the cluster.
type withinFlags struct {
	cluster bool
	shards  int
	image   string
}

func (w *withinFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&w.cluster, "in-cluster", false, "run from within the cluster that --kubeconfig or --name says, as a Job")
	flags.IntVar(&w.shards, "shards", 1, "with --in-cluster: pods that share what can run side by side")
	flags.StringVar(&w.image, "image", conformance.RunnerImage, "with --in-cluster: image of the pods; plumb images save conformance-runner FILE writes it, and plumb up --images conformance-runner gives it to a cluster of this host")
}

// check refuses what does not go together.
func (w *withinFlags) check(f *conformanceFlags) error {
	switch {
	case !w.cluster && (w.shards != 1 || w.image != conformance.RunnerImage):
		return errors.New("--shards and --image are about --in-cluster")
	case !w.cluster:
		return nil
	case w.shards < 1:
		return errors.New("--shards must be more than zero")
	case f.target.kubeconfig == "" && f.target.name == "":
		return errors.New("--in-cluster needs --kubeconfig or --name: it is about a cluster that there is")
	case f.shard != "":
		return errors.New("--in-cluster and --shard exclude each other: --shards says how many pods share the run")
	case f.suite.kind != catalogue.Kubernetes:
		return fmt.Errorf("--in-cluster runs Kubernetes' suite: those of suite %s look at machines of this host", f.suite.kind)
	}
	return nil
}

// elsewhere is what runs a session's behaviours, if it is not this host.
func (w *withinFlags) elsewhere(cmd *cobra.Command, s *session.Session) (func(context.Context, runner.Config) error, error) {
	if !w.cluster {
		return nil, nil
	}
	version, err := session.Version(cmd.Context(), s.Choice.Suite, s.Tools)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	place := incluster.Place{Kubeconfig: s.Targets[0].Kubeconfig, Image: w.image, Version: version, Shards: w.shards, Run: host + ":" + s.Dir}
	return place.Take, nil
}

// conformanceShareCommand is what the pods run.
func conformanceShareCommand() *cobra.Command {
	var order, work string
	cmd := &cobra.Command{
		Use:    "share",
		Short:  "Run one pod's share of a run within a cluster; started by --in-cluster",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := share(cmd, order, work)
			if err != nil {
				// The pod's status tells why it failed; that it cannot is no other failure.
				_ = os.WriteFile("/dev/termination-log", []byte(err.Error()), 0o600)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&order, "order", "", "directory with the order")
	cmd.Flags().StringVar(&work, "work", "", "directory to write to")
	return cmd
}

func share(cmd *cobra.Command, order, work string) error {
	const variable = "JOB_COMPLETION_INDEX"
	index, err := strconv.Atoi(os.Getenv(variable))
	if err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	store, err := cache.Default()
	if err != nil {
		return err
	}
	kubectl, err := besideUs("kubectl")
	if err != nil {
		return err
	}
	suite := filepath.Join(filepath.Dir(kubectl), reference.SuiteProgram)
	return incluster.Share{Order: order, Work: work, Index: index, Tools: session.Tools{Suite: suite, Kubectl: kubectl, Store: store}, Out: cmd.OutOrStdout()}.Run(cmd.Context())
}
