package launch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine"
)

// programLife is a component as a process.
type programLife struct{ *machine.Process }

func (p programLife) done() <-chan struct{} { return p.Done() }
func (p programLife) outcome() string       { return p.Exit().String() }

func (p programLife) signal(ctx context.Context, signal unix.Signal) error {
	return p.Signal(ctx, signal)
}

// functionLife is a component as a Go function.
type functionLife struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error
}

var errKilled = errors.New("killed by the harness")

func call(f Function, args []string) *functionLife {
	ctx, cancel := context.WithCancelCause(context.Background())
	life := &functionLife{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(life.ended)
		defer cancel(nil)
		life.err = f(ctx, args)
	}()
	return life
}

func (f *functionLife) done() <-chan struct{} { return f.ended }

func (f *functionLife) outcome() string {
	if f.err != nil {
		return "function returned: " + f.err.Error()
	}
	return "function returned"
}

// signal can only tell a function to end; there is nothing to kill it with.
func (f *functionLife) signal(_ context.Context, signal unix.Signal) error {
	switch signal {
	case unix.SIGTERM, unix.SIGKILL:
		f.cancel(errKilled)
	case unix.SIGCONT:
	default:
		return fmt.Errorf("a component that is a Go function cannot take %s", unix.SignalName(signal))
	}
	return nil
}
