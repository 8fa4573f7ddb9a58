package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// TestKubectlDoesNotOutliveASignal: a signal that comes before kubectl takes this process over must end it all the same.
func TestKubectlDoesNotOutliveASignal(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	// Had it gone on, this test would be replaced, or told that there is no kubectl beside it.
	if err := becomeKubectl(ctx, filepath.Join(t.TempDir(), "kubeconfig"), []string{"version", "--client"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want to end", err)
	}
}
