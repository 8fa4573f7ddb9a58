// Command kubectl is the real kubectl, from its library. It is a program of its own
// because what it initialises would otherwise cost every component's start a
// third of its time.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	command := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
		PluginHandler: kubectl.NewDefaultPluginHandler([]string{"kubectl"}),
		Arguments:     os.Args,
		IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	})
	command.SilenceUsage, command.SilenceErrors = true, true
	// CheckErr prints an error and exits as kubectl does.
	kubectlutil.CheckErr(command.Execute())
}
