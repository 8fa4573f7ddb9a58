// Command plumb boots Kubernetes clusters of our own components on one Linux
// machine, and is all of their programs itself: started under a component's name,
// or as plumb component NAME, it is that component; as PID 1 of a machine it is
// the machine's init process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine"
)

func main() {
	machine.RunIfInit()
	command := rootCommand
	if component := componentNamed(filepath.Base(os.Args[0])); component != nil {
		collectLater()
		command = component
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, command)
	stop()
	if err == nil {
		return
	}
	var status exitStatus
	if errors.As(err, &status) {
		os.Exit(int(status))
	}
	os.Exit(1)
}

func run(ctx context.Context, make func() *cobra.Command) error {
	command := make()
	command.SilenceUsage, command.SilenceErrors = true, true
	executed, err := command.ExecuteContextC(ctx)
	var status exitStatus
	if err != nil && !errors.As(err, &status) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", executed.CommandPath(), err)
	}
	return err
}

// exitStatus ends this program as another one ended.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "plumb",
		Short: "Real Kubernetes clusters on one Linux machine, to test what runs in and under them",
		Args:  cobra.NoArgs,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		upCommand(), downCommand(), listCommand(), statusCommand(), kubeconfigCommand(), kubectlCommand(),
		logsCommand(), execCommand(), nodeCommand(), faultCommand(), swapCommand(), testCommand(), conformanceCommand(), matrixCommand(), differentialCommand(), benchCommand(),
		imagesCommand(),
		doctorCommand(),
		componentCommand(), superviseCommand(), verdictsCommand(),
	)
	return root
}
