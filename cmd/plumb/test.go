package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/supervisor"
)

func testCommand() *cobra.Command {
	var name, suite, kubeconfig string
	cmd := &cobra.Command{
		Use:   "test [-- SUITE FLAGS...]",
		Short: "Run the suites against a running cluster",
		Example: `  plumb test
  plumb test -- --ginkgo.focus='rolling update' --ginkgo.v
  plumb test --kubeconfig ~/.kube/config`,
		RunE: func(cmd *cobra.Command, args []string) error {
			program, err := findSuite(suite)
			if err != nil {
				return fmt.Errorf("--suite: %w", err)
			}
			env := os.Environ()
			if kubeconfig != "" {
				env = append(env, "KUBECONFIG="+kubeconfig, clusterVariable+"=")
			} else {
				client, err := supervisor.Connect(name)
				if err != nil {
					return err
				}
				env = append(env, "KUBECONFIG="+client.Kubeconfig(), clusterVariable+"="+client.Name())
			}
			run := exec.CommandContext(cmd.Context(), program, args...)
			run.Env, run.Stdin, run.Stdout, run.Stderr = env, os.Stdin, os.Stdout, os.Stderr
			err = runSuites(run, suitesGrace)
			var ended *exec.ExitError
			if errors.As(err, &ended) {
				return exitStatus(ended.ExitCode())
			}
			return err
		},
	}
	addName(cmd, &name)
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "test this cluster instead, of whatever kind")
	cmd.Flags().StringVar(&suite, "suite", "", "compiled suites to run (default: "+suiteProgram+" beside this program)")
	return cmd
}
