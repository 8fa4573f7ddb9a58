package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/supervisor"
)

// suiteProgram is the compiled suites, beside this program.
const suiteProgram = "e2e.test"

// clusterVariable tells the suites which running cluster to test.
const clusterVariable = "PLUMB_CLUSTER"

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
			run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
			err = run.Run()
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
