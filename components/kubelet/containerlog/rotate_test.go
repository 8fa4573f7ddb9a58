package containerlog

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "0.log")
	c := &runtime.Container{ContainerStatus: &runtimeapi.ContainerStatus{Id: "id", LogPath: path}}
	var failure error
	r := &Rotator{MaxSize: 10, MaxFiles: 3, Reopen: func(_ context.Context, id string) error {
		if failure == nil {
			write(t, path, "")
		}
		return failure
	}}
	names := func() string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return strings.Join(out, " ")
	}

	write(t, path, "short")
	if err := r.look(t.Context(), c); err != nil || names() != "0.log" {
		t.Fatalf("a short log was rotated: %s, %v", names(), err)
	}

	write(t, path, "long enough")
	write(t, path+".20200101-000000.gz", "oldest")
	write(t, path+".20210101-000000", "older")
	write(t, path+".20210101-000000.gz.tmp", "interrupted")
	if err := r.look(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(names())
	if len(got) != 3 || got[0] != "0.log" || got[1] != "0.log.20210101-000000.gz" {
		t.Fatalf("files %v, want the current one, the one before it and a compressed one", got)
	}
	if raw, _ := os.ReadFile(filepath.Join(dir, got[2])); string(raw) != "long enough" {
		t.Errorf("the log was moved as %q", raw)
	}
	f, err := os.Open(filepath.Join(dir, got[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := io.ReadAll(unpacked); string(raw) != "older" {
		t.Errorf("the compressed log holds %q", raw)
	}

	write(t, path, "long enough, again")
	failure = errors.New("no")
	if err := r.look(t.Context(), c); !errors.Is(err, failure) {
		t.Errorf("error %v, want %v", err, failure)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "long enough, again" {
		t.Errorf("a log that the runtime did not let go of is %q", raw)
	}
}
