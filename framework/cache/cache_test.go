package cache_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/plumbline/plumbline/framework/cache"
)

func TestEnsureBuildsOnceForAllWhoAsk(t *testing.T) {
	store := cache.Store{Dir: t.TempDir()}
	entry := cache.Entry{Kind: "things", Key: "k"}
	var built atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := store.Ensure(t.Context(), entry, func(_ context.Context, dir string) error {
				built.Add(1)
				return os.WriteFile(filepath.Join(dir, "f"), []byte("whole"), 0o644)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if data, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(data) != "whole" {
				t.Errorf("%q %v", data, err)
			}
		})
	}
	all.Wait()
	if n := built.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
}

func TestAFailedBuildLeavesNothing(t *testing.T) {
	store := cache.Store{Dir: t.TempDir()}
	entry := cache.Entry{Kind: "things", Key: "k"}
	boom := errors.New("boom")
	half := func(_ context.Context, dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o644), boom)
	}
	if _, err := store.Ensure(t.Context(), entry, half); !errors.Is(err, boom) {
		t.Fatalf("error %v, want the builder's", err)
	}
	if store.Has(entry) {
		t.Error("the entry is there after a failed build")
	}
	// What a killed builder left is swept.
	if err := os.MkdirAll(store.Path(entry)+".partial/half", 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := store.Ensure(t.Context(), entry, func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left over from a killed builder: %v", left)
	}
}

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := cache.Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.Lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the context was cancelled", err)
	}
}

func TestKeyFollowsContent(t *testing.T) {
	dir := t.TempDir()
	key := func(content string) string {
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		k := cache.NewKey().Add("v1")
		if err := k.AddFiles(dir, "."); err != nil {
			t.Fatal(err)
		}
		return k.String()
	}
	if a, b, again := key("a"), key("b"), key("a"); a == b || a != again {
		t.Errorf("keys %s %s %s", a, b, again)
	}
	if cache.NewKey().Add("ab", "c").String() == cache.NewKey().Add("a", "bc").String() {
		t.Error("values run together")
	}
}
