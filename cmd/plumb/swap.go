package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/supervisor"
)

func swapCommand() *cobra.Command {
	var name, program string
	var own bool
	cmd := &cobra.Command{
		Use:   "swap MACHINE COMPONENT",
		Short: "Run another program in a component's place while the cluster lives",
		Long: `Run another program in a component's place while the cluster lives: on the data,
the files and the rules that the one before it left. Without a program the usual
one comes back.`,
		Example: `  plumb swap control-plane kube-apiserver --reference
  plumb swap node-1 kube-proxy --program ./my-proxy
  plumb swap node-1 kube-proxy`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var change v1alpha1.Component
			switch {
			case own && program != "":
				return errors.New("--program and --reference exclude each other")
			case own:
				names, err := reference.Parse(args[1:])
				if err != nil {
					return fmt.Errorf("--reference: %w", err)
				}
				if len(names) != 1 {
					return errors.New("--reference: one component is swapped at a time")
				}
				screen := newScreen(cmd, outputFlag{})
				change, err = reference.Component(cmd.Context(), names[0], screen.step)
				screen.clear()
				if err != nil {
					return err
				}
			case program != "":
				var err error
				if change.Program, err = filepath.Abs(program); err != nil {
					return err
				}
			}
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			return client.Swap(cmd.Context(), args[0], args[1], change)
		},
	}
	addName(cmd, &name)
	cmd.Flags().StringVar(&program, "program", "", "the executable to run")
	cmd.Flags().BoolVar(&own, "reference", false, "run Kubernetes' own component")
	return cmd
}
