package debian

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestEntriesOfBinariesBecomeEntriesOfSources(t *testing.T) {
	for binary, source := range map[string]string{
		"deb https://example.org/debian stable main\n":                  "deb-src https://example.org/debian stable main\n",
		"deb [signed-by=/k.gpg] http://example.org/ x main\n# deb no\n": "deb-src [signed-by=/k.gpg] http://example.org/ x main\n# deb no\n",
		"deb-src http://example.org/debian stable main\n":               "deb-src http://example.org/debian stable main\n",
		"Types: deb\nURIs: http://example.org/debian\nSuites: stable\n": "Types: deb-src\nURIs: http://example.org/debian\nSuites: stable\n",
		"Types: deb deb-src\nURIs: http://example.org/debian\n":         "Types: deb-src\nURIs: http://example.org/debian\n",
	} {
		if got := sourceEntries(binary); got != source {
			t.Errorf("%q became %q, want %q", binary, got, source)
		}
	}
}

func TestWriteSourceEntriesReadsBothPlaces(t *testing.T) {
	etc, to := t.TempDir(), filepath.Join(t.TempDir(), "parts")
	if err := writeSourceEntries(etc, to); err == nil {
		t.Error("no error where there are no entries")
	}
	if err := os.Mkdir(filepath.Join(etc, "sources.list.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{"sources.list": "deb http://a x main\n", "sources.list.d/b.sources": "Types: deb\n", "sources.list.d/c.disabled": "deb no\n"} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeSourceEntries(etc, to); err != nil {
		t.Fatal(err)
	}
	written, err := filepath.Glob(filepath.Join(to, "*"))
	if err != nil || len(written) != 2 {
		t.Fatalf("written %v: %v", written, err)
	}
	if data, err := os.ReadFile(filepath.Join(to, "b.sources")); err != nil || string(data) != "Types: deb-src\n" {
		t.Errorf("%q %v", data, err)
	}
}

func TestUnpackSourceLeavesOutTheTopFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "thing-1.0/src"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thing-1.0/src/a.c"), []byte("int a;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, archive := range []struct{ name, flag, program string }{
		{"thing_1.0.orig.tar.gz", "--gzip", "gzip"}, {"thing_1.0.orig.tar.bz2", "--bzip2", "bzip2"}, {"thing_1.0.orig.tar.xz", "--xz", "xz"},
	} {
		if _, err := exec.LookPath(archive.program); err != nil {
			t.Log(err)
			continue
		}
		path, root := filepath.Join(dir, archive.name), filepath.Join(t.TempDir(), "root")
		if out, err := exec.Command("tar", "--create", archive.flag, "--file", path, "--directory", dir, "thing-1.0").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := unpackSource(t.Context(), path, root); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(root, "src/a.c")); err != nil || string(data) != "int a;\n" {
			t.Errorf("%s: %q %v", archive.name, data, err)
		}
	}
}
