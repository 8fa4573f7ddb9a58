package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [--name NAME] ARGS...",
		Short: "Be kubectl, for a cluster",
		// All flags but a leading --name are kubectl's.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, args := leadingName(args)
			path, err := kubeconfigOf(cmd, name)
			if err != nil {
				return err
			}
			if err := os.Setenv(clientcmd.RecommendedConfigPathEnvVar, path); err != nil {
				return err
			}
			// A later cluster may get the same port: what is cached of one must not
			// be believed of the other.
			if err := os.Setenv("KUBECACHEDIR", filepath.Join(filepath.Dir(path), "kubectl")); err != nil {
				return err
			}
			return runKubectl(cmd, args)
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

func runKubectl(cmd *cobra.Command, args []string) error {
	os.Args = append([]string{"kubectl"}, args...)
	command := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
		PluginHandler: kubectl.NewDefaultPluginHandler([]string{"kubectl"}),
		Arguments:     os.Args,
		IOStreams:     genericiooptions.IOStreams{In: cmd.InOrStdin(), Out: cmd.OutOrStdout(), ErrOut: cmd.ErrOrStderr()},
	})
	command.SetArgs(args)
	command.SilenceUsage, command.SilenceErrors = true, true
	// CheckErr prints and exits as kubectl does.
	kubectlutil.CheckErr(command.ExecuteContext(cmd.Context()))
	return nil
}
