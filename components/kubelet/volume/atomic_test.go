package volume

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func read(t *testing.T, elements ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	first := payload{"a": {data: []byte("1"), mode: 0o644}, "sub/b": {data: []byte("2"), mode: 0o400}}
	if err := publish(dir, first, nil); err != nil {
		t.Fatal(err)
	}
	if a, b := read(t, dir, "a"), read(t, dir, "sub", "b"); a != "1" || b != "2" {
		t.Fatalf("a is %q, sub/b is %q", a, b)
	}
	if info, err := os.Stat(filepath.Join(dir, "sub", "b")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode of sub/b: %v, %v", info.Mode(), err)
	}
	open, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(dir, first, nil); err != nil {
		t.Fatal(err)
	}
	if now, _ := os.Readlink(filepath.Join(dir, "..data")); now != open {
		t.Error("the same content was published again")
	}

	second := payload{"a": {data: []byte("new"), mode: 0o644}, "c": {data: []byte("3"), mode: 0o644}}
	if err := publish(dir, second, nil); err != nil {
		t.Fatal(err)
	}
	if a, c := read(t, dir, "a"), read(t, dir, "c"); a != "new" || c != "3" {
		t.Errorf("a is %q, c is %q", a, c)
	}
	if _, err := os.Lstat(filepath.Join(dir, "sub")); !os.IsNotExist(err) {
		t.Errorf("sub is still there: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, open)); !os.IsNotExist(err) {
		t.Errorf("the old content is still there: %v", err)
	}
}

func TestPublishFailsWhole(t *testing.T) {
	dir := t.TempDir()
	if err := publish(dir, payload{"a": {data: []byte("1"), mode: 0o644}}, nil); err != nil {
		t.Fatal(err)
	}
	err := publish(dir, payload{"a": {data: []byte("2"), mode: 0o644}}, func(string) error { return os.ErrPermission })
	if err == nil {
		t.Fatal("no error")
	}
	if a := read(t, dir, "a"); a != "1" {
		t.Errorf("a is %q although the new content was not ready", a)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 {
		t.Errorf("%d entries left, want ..data, its directory and a", len(entries))
	}
}

func TestPayloadStaysInItsVolume(t *testing.T) {
	for path, valid := range map[string]bool{"a": true, "a/b": true, "..a": false, "../a": false, "/a": false, "": false, "a/../../b": false} {
		if err := (payload{path: {}}).check(); (err == nil) != valid {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestSubPathStaysInItsVolume(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "escape")); err != nil {
		t.Fatal(err)
	}
	m := New(Config{Root: t.TempDir()})
	for _, sub := range []string{"escape", "escape/x", "../x", "a/../../x", "/etc"} {
		if _, err := m.subPath(types.UID("u"), "v", "c", 0, root, sub); err == nil {
			t.Errorf("subPath %q was allowed", sub)
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Error("something was made outside of the volume")
	}
}
