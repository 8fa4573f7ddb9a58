package main

import (
	"io"
	"os"
	"os/signal"

	"github.com/moby/term"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/supervisor"
)

func execCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "exec MACHINE [--] [COMMAND ARGS...]",
		Short:   "Run a command in a machine; without one, a shell",
		Example: "  plumb exec node-1\n  plumb exec control-plane -- ip route",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			argv := args[1:]
			if len(argv) > 0 && argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				argv = []string{"sh", "-i"}
			}
			command := machine.Command{Args: argv, Env: environment(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
			run := func() (machine.Exit, error) { return client.Exec(cmd.Context(), args[0], command) }
			if term.IsTerminal(os.Stdin.Fd()) && term.IsTerminal(os.Stdout.Fd()) {
				return finish(onTerminal(&command, run))
			}
			return finish(run())
		},
	}
	cmd.Flags().SetInterspersed(false)
	addName(cmd, &name)
	return cmd
}

// environment is the machine's own, with what the programs of the set and the
// user's terminal need.
func environment() []string {
	env := machine.DefaultEnv()
	if kind := os.Getenv("TERM"); kind != "" {
		env = append(env, "TERM="+kind)
	}
	return append(env, "ETCDCTL_API=3", "KUBECONFIG=/etc/kubernetes/admin.conf")
}

func finish(exit machine.Exit, err error) error {
	switch {
	case err != nil:
		return err
	case exit.Signal > 0:
		return exitStatus(128 + exit.Signal)
	case exit.Code != 0:
		return exitStatus(exit.Code)
	}
	return nil
}

// onTerminal gives the command a terminal of its own, joined to the user's.
func onTerminal(command *machine.Command, run func() (machine.Exit, error)) (machine.Exit, error) {
	ours, theirs, err := openTerminal()
	if err != nil {
		return machine.Exit{}, err
	}
	defer ours.Close()
	command.Stdin, command.Stdout, command.Stderr, command.Terminal = theirs, theirs, theirs, true
	state, err := term.SetRawTerminal(os.Stdin.Fd())
	if err != nil {
		theirs.Close()
		return machine.Exit{}, err
	}
	defer func() { _ = term.RestoreTerminal(os.Stdin.Fd(), state) }()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	resized <- unix.SIGWINCH
	go func() {
		for range resized {
			if size, err := term.GetWinsize(os.Stdin.Fd()); err == nil {
				_ = term.SetWinsize(ours.Fd(), size)
			}
		}
	}()
	go func() { _, _ = io.Copy(ours, os.Stdin) }()
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		// Ends with an error when the last process that holds the terminal does.
		_, _ = io.Copy(os.Stdout, ours)
	}()
	exit, err := run()
	theirs.Close()
	if err == nil {
		<-printed
	}
	return exit, err
}

// openTerminal makes a pseudo-terminal, see pty(7).
func openTerminal() (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		ours.Close()
		return nil, nil, err
	}
	peer, err := unix.IoctlRetInt(int(ours.Fd()), unix.TIOCGPTPEER)
	if err == nil {
		return ours, os.NewFile(uintptr(peer), "terminal"), nil
	}
	ours.Close()
	return nil, nil, err
}
