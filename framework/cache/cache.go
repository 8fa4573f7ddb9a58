// Package cache keeps what is costly to make in directories named after what
// they were made from: built programs, images, unpacked file systems. An entry
// is made once per host, appears at once or not at all, and never changes.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Env names the environment variable that moves the cache.
const Env = "PLUMB_CACHE"

// Store is a cache directory.
type Store struct {
	Dir string
}

// Default is the store named by PLUMB_CACHE, else ~/.cache/plumbline.
func Default() (Store, error) {
	if dir := os.Getenv(Env); dir != "" {
		abs, err := filepath.Abs(dir)
		return Store{Dir: abs}, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return Store{}, fmt.Errorf("no place for the cache: set %s to a directory: %w", Env, err)
	}
	return Store{Dir: filepath.Join(base, "plumbline")}, nil
}

// Entry identifies one directory of a store.
type Entry struct {
	Kind string // what it is, e.g. "binaries"
	Key  string // hash of everything that determines its content
}

// Path is where the entry is, or will be.
func (s Store) Path(e Entry) string { return filepath.Join(s.Dir, e.Kind, e.Key) }

// Has tells whether the entry is complete.
func (s Store) Has(e Entry) bool {
	_, err := os.Stat(s.Path(e))
	return err == nil
}

// Ensure returns the entry's directory and calls build to fill it if it is not
// there yet. Of several processes that ask at once, one builds and the others
// wait; what a dead builder left is swept by the next.
func (s Store) Ensure(ctx context.Context, e Entry, build func(ctx context.Context, dir string) error) (string, error) {
	path := s.Path(e)
	if s.Has(e) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("cache %s: %w", s.Dir, err)
	}
	unlock, err := Lock(ctx, path+".lock")
	if err != nil {
		return "", fmt.Errorf("cache entry %s/%s: %w", e.Kind, e.Key, err)
	}
	defer unlock()
	if s.Has(e) {
		return path, nil
	}
	partial := path + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", err
	}
	if err := build(ctx, partial); err != nil {
		return "", errors.Join(err, os.RemoveAll(partial))
	}
	return path, os.Rename(partial, path)
}

// Lock takes a lock file that other processes respect too, and waits for it
// until ctx is done.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() { locked <- syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
			return nil, err
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		// The waiter still holds the descriptor; give it back once it has its turn.
		go func() {
			<-locked
			f.Close()
		}()
		return nil, ctx.Err()
	}
}

// Key collects what determines an entry's content.
type Key struct{ sum hash.Hash }

// NewKey starts a key.
func NewKey() *Key { return &Key{sum: sha256.New()} }

// Add mixes in values.
func (k *Key) Add(values ...any) *Key {
	for _, v := range values {
		fmt.Fprintf(k.sum, "%v\x00", v)
	}
	return k
}

// AddFiles mixes in the names and contents of regular files; a directory stands for all in it.
func (k *Key) AddFiles(root string, names ...string) error {
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			k.Add(rel)
			_, err = io.Copy(k.sum, f)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// String is the key, short enough for a directory name.
func (k *Key) String() string { return hex.EncodeToString(k.sum.Sum(nil))[:16] }
