package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [--name NAME] ARGS...",
		Short: "Run kubectl on a cluster",
		// All flags but a leading --name are kubectl's.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, args := leadingName(args)
			path, err := kubeconfigOf(cmd, name)
			if err != nil {
				return err
			}
			return becomeKubectl(cmd.Context(), path, args)
		},
	}
}

// leadingName takes --name NAME or --name=NAME off the front: kubectl has a flag of
// that name in some of its own commands.
func leadingName(args []string) (name string, rest []string) {
	if len(args) >= 2 && args[0] == "--name" {
		return args[1], args[2:]
	}
	if len(args) >= 1 {
		if value, ok := strings.CutPrefix(args[0], "--name="); ok {
			return value, args[1:]
		}
	}
	return "", args
}

// becomeKubectl replaces this program by the kubectl beside it.
func becomeKubectl(ctx context.Context, kubeconfig string, args []string) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(own), "kubectl")
	// A later cluster may get the same port: what is cached of one must not be
	// believed of the other.
	cache := filepath.Join(filepath.Dir(kubeconfig), "kubectl")
	env := append(os.Environ(), "KUBECONFIG="+kubeconfig, "KUBECACHEDIR="+cache)
	// A signal that came so far has been taken for this program's end: kubectl would not
	// know of it. From here on the kernel's default holds.
	signal.Reset(syscall.SIGINT, syscall.SIGTERM)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := syscall.Exec(program, append([]string{"kubectl"}, args...), env); err != nil {
		return fmt.Errorf("%s: %w: make build puts kubectl there", program, err)
	}
	return nil
}
