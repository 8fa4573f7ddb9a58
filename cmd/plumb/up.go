package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/doctor"
	hollow "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
	"github.com/plumbline/plumbline/framework/supervisor"
	"github.com/plumbline/plumbline/framework/wire"
)

type upFlags struct {
	name       string
	nodes      int
	hollow     int
	script     string
	config     string
	components []string
	images     []string
	reference  []string
	retain     bool
	wait       bool
	output     outputFlag
}

func upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Boot a cluster",
		Example: `  plumb up --nodes 2
  plumb up --nodes 1 --hollow 500
  plumb up --name swapped --component kube-scheduler=./my-scheduler
  plumb up --reference kube-scheduler,kube-proxy
  plumb up --images conformance --images ./mine.tar
  plumb up --config cluster.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			description, err := f.description(cmd)
			if err != nil {
				return err
			}
			return up(cmd, f, description)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name of the cluster (default \"default\")")
	flags.IntVar(&f.nodes, "nodes", 1, "number of nodes")
	flags.IntVar(&f.hollow, "hollow", 0, "number of hollow nodes: simulated ones, without machines")
	flags.StringVar(&f.script, "hollow-script", "", "file that describes hollow nodes and what their pods do, "+hollow.APIVersion+" "+hollow.Kind+"; with --hollow, as many of its nodes")
	flags.StringVar(&f.config, "config", "", "file with a description of the cluster, "+v1alpha1.APIVersion+" "+v1alpha1.Kind)
	flags.StringArrayVar(&f.components, "component", nil, "NAME=PATH: run the executable at PATH in the place of a component; may be given several times")
	flags.StringArrayVar(&f.reference, "reference", nil, "NAME[,NAME...]: run Kubernetes' own component in the place of ours: "+strings.Join(reference.Names(), ", ")+", or "+reference.All)
	flags.StringArrayVar(&f.images, "images", nil, "give the nodes more images: "+setNames()+", or the path of a tar file of docker save or an OCI image layout; may be given several times")
	flags.BoolVar(&f.retain, "retain", false, "keep a cluster that does not boot, for inspection")
	flags.BoolVar(&f.wait, "wait", false, "wait until DNS answers, too")
	f.output.add(flags)
	return cmd
}

// description puts the file and the flags together.
func (f *upFlags) description(cmd *cobra.Command) (*v1alpha1.Cluster, error) {
	if f.nodes < 0 {
		return nil, fmt.Errorf("--nodes: %d is negative", f.nodes)
	}
	description := v1alpha1.New("", f.nodes)
	if f.config != "" {
		data, err := os.ReadFile(f.config)
		if err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
		if description, err = v1alpha1.Read(data); err != nil {
			return nil, fmt.Errorf("--config %s: %w", f.config, err)
		}
		if cmd.Flags().Changed("nodes") {
			return nil, errors.New("--nodes and --config exclude each other: the file lists the nodes")
		}
	}
	if err := f.placeHollow(cmd, description); err != nil {
		return nil, err
	}
	if f.name != "" {
		description.Metadata.Name = f.name
	}
	for _, swap := range f.components {
		name, path, ok := strings.Cut(swap, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("--component: %q is not NAME=PATH", swap)
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("--component %s: %w", name, err)
		}
		if description.Spec.Components == nil {
			description.Spec.Components = map[string]v1alpha1.Component{}
		}
		component := description.Spec.Components[name]
		component.Program = absolute
		description.Spec.Components[name] = component
	}
	for _, entry := range f.images {
		if !isSet(entry) {
			absolute, err := filepath.Abs(entry)
			if err != nil {
				return nil, fmt.Errorf("--images %s: %w", entry, err)
			}
			if _, err := os.Stat(absolute); err != nil {
				return nil, fmt.Errorf("--images: %q is neither a set of images (%s) nor a file: %w", entry, setNames(), err)
			}
			entry = absolute
		}
		description.Spec.Images = append(description.Spec.Images, entry)
	}
	description.Default()
	return description, description.Validate()
}

// placeHollow adds the hollow nodes that the flags ask for.
func (f *upFlags) placeHollow(cmd *cobra.Command, description *v1alpha1.Cluster) error {
	counted, scripted := cmd.Flags().Changed("hollow"), f.script != ""
	if !counted && !scripted {
		return nil
	}
	if description.Spec.Hollow != nil {
		return errors.New("--hollow, --hollow-script: the description of --config has spec.hollow already")
	}
	spec := &hollow.Spec{}
	if scripted {
		data, err := os.ReadFile(f.script)
		if err != nil {
			return fmt.Errorf("--hollow-script: %w", err)
		}
		if spec, err = hollow.ReadPlain(data); err != nil {
			return fmt.Errorf("--hollow-script %s: %w", f.script, err)
		}
	}
	switch {
	case f.hollow < 0:
		return fmt.Errorf("--hollow: %d is negative", f.hollow)
	case counted && len(spec.Nodes) > 1:
		return errors.New("--hollow: the file of --hollow-script has several groups of nodes: say there how many each has")
	case counted && len(spec.Nodes) == 0:
		spec.Nodes = []hollow.Group{{Count: f.hollow}}
	case counted:
		spec.Nodes[0].Count = f.hollow
	}
	description.Spec.Hollow = spec
	return nil
}

// placeReference puts Kubernetes' own components in, where they were asked for.
func (f *upFlags) placeReference(ctx context.Context, description *v1alpha1.Cluster, progress func(string)) error {
	names, err := reference.Parse(f.reference)
	if err != nil {
		return fmt.Errorf("--reference: %w", err)
	}
	if err := reference.Place(ctx, description, names, progress); err != nil {
		return fmt.Errorf("--reference: %w", err)
	}
	return nil
}

func up(cmd *cobra.Command, f upFlags, description *v1alpha1.Cluster) error {
	screen := newScreen(cmd, f.output)
	if err := f.placeReference(cmd.Context(), description, screen.step); err != nil {
		screen.clear()
		return err
	}
	begun := time.Now()
	argv := []string{"plumb", "supervise", "--name", description.Metadata.Name}
	order := supervisor.Order{Cluster: description, Retain: f.retain}
	err := supervisor.Spawn(cmd.Context(), argv, order, func(p supervisor.Progress) {
		if p.Step != "" {
			screen.step(p.Step)
		}
		if p.Phase != nil {
			screen.phase(time.Since(begun), p.Phase.Text)
		}
	})
	screen.clear()
	if err != nil {
		if f.retain {
			fmt.Fprintf(cmd.ErrOrStderr(), "the cluster is kept: plumb status, plumb logs and plumb exec --name %s look into it, plumb down ends it\n", description.Metadata.Name)
		}
		return errors.Join(err, unmet(cmd.Context()))
	}
	client, err := supervisor.Connect(description.Metadata.Name)
	if err != nil {
		return err
	}
	if f.wait {
		if err := waitForDNS(cmd.Context(), client); err != nil {
			return err
		}
		screen.phase(time.Since(begun), "DNS answering")
	}
	status, err := client.Status(cmd.Context())
	if err != nil {
		return err
	}
	if f.output.json() {
		return printJSON(cmd.OutOrStdout(), status)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "cluster %s is up: plumb kubectl get nodes, or export KUBECONFIG=%s\n", status.Name, status.Kubeconfig)
	return nil
}

// unmet names what this host lacks, of which a boot has failed, most likely: the feature of a
// kernel, say, that some component met with an error of its own.
func unmet(ctx context.Context) error {
	if os.Getuid() != 0 {
		return nil // told already, and no wonder
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // given up, so nothing is to be found out
	}
	var errs []error
	for _, finding := range doctor.Examine(ctx, "/proc/self/exe") {
		if finding.Verdict == doctor.Failed {
			errs = append(errs, fmt.Errorf("plumb doctor finds: %s: %s → %s", finding.Name, finding.Detail, finding.Remedy))
		}
	}
	return errors.Join(errs...)
}

// superviseCommand is what up starts in the background.
func superviseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "supervise",
		Short:  "Own a cluster; started by up",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			starter, err := wire.FromFile(os.NewFile(supervisor.StarterFD, "starter"))
			if err != nil {
				return fmt.Errorf("supervise is started by plumb up: %w", err)
			}
			collectLater()
			return supervisor.Run(cmd.Context(), starter, cluster.WithImageSets(imageSets()...))
		},
	}
	cmd.Flags().String("name", "", "name of the cluster, for whoever reads the list of processes")
	return cmd
}
