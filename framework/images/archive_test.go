package images_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/plumbline/plumbline/framework/images"
)

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(512, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// imported lists the names of what an archive brings, with the images' IDs.
func imported(t *testing.T, path string) map[string]string {
	t.Helper()
	l, err := newBuilder(t).Import(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := l.Images()
	if err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, n := range all {
		img, err := index.Image(v1.Hash{Algorithm: "sha256", Hex: n.Descriptor.Digest.Encoded()})
		if err != nil {
			t.Fatal(err)
		}
		ids[n.Name] = idOf(t, img)
	}
	return ids
}

// idOf is the digest of the image's configuration, which stays when its layers are packed anew.
func idOf(t *testing.T, img v1.Image) string {
	t.Helper()
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func TestImportOfWhatDockerSaves(t *testing.T) {
	one, two := randomImage(t), randomImage(t)
	path := filepath.Join(t.TempDir(), "saved.tar")
	saved := map[name.Tag]v1.Image{}
	for tag, img := range map[string]v1.Image{"mine": one, "mine:v2": two, "registry.example/team/it:1.0": one} {
		parsed, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		saved[parsed] = img
	}
	if err := tarball.MultiWriteToFile(path, saved); err != nil {
		t.Fatal(err)
	}
	got := imported(t, path)
	want := map[string]string{
		"docker.io/library/mine:latest": idOf(t, one), "docker.io/library/mine:v2": idOf(t, two), "registry.example/team/it:1.0": idOf(t, one),
	}
	for name, id := range want {
		if got[name] != id {
			t.Errorf("%s: ID %q, want %q", name, got[name], id)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

func TestWhatIsSavedIsImportedAsItWas(t *testing.T) {
	dir, host, _, plain := writeLayout(t)
	built, err := newBuilder(t).Import(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "saved.tar")
	if err := built.Save(path); err != nil {
		t.Fatal(err)
	}
	got := imported(t, path)
	if len(got) != 2 || got["example.org/both:1"] != idOf(t, host) || got["example.org/plain:latest"] != idOf(t, plain) {
		t.Errorf("%v", got)
	}
	if err := built.Save(filepath.Join(t.TempDir(), "no/such/directory/x.tar")); err == nil {
		t.Error("saving where there is no directory was no error")
	}
}

// writeLayout writes a layout with an image of two platforms and one of none in particular.
func writeLayout(t *testing.T) (dir string, host, other, plain v1.Image) {
	t.Helper()
	host, other, plain = randomImage(t), randomImage(t), randomImage(t)
	both := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: runtime.GOARCH}}},
		mutate.IndexAddendum{Add: host, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	dir = t.TempDir()
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	named := func(key, name string) layout.Option { return layout.WithAnnotations(map[string]string{key: name}) }
	if err := index.AppendIndex(both, named(images.NameAnnotation, "example.org/both:1")); err != nil {
		t.Fatal(err)
	}
	if err := index.AppendImage(plain, named("org.opencontainers.image.ref.name", "example.org/plain")); err != nil {
		t.Fatal(err)
	}
	return dir, host, other, plain
}

func TestImportOfALayoutTakesThisHostsPlatform(t *testing.T) {
	dir, host, _, plain := writeLayout(t)
	packed := filepath.Join(t.TempDir(), "layout.tar")
	if out, err := exec.Command("tar", "--create", "--file", packed, "--directory", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, path := range []string{dir, packed} {
		got := imported(t, path)
		if len(got) != 2 || got["example.org/both:1"] != idOf(t, host) || got["example.org/plain:latest"] != idOf(t, plain) {
			t.Errorf("%s: %v", filepath.Base(path), got)
		}
	}
}

func TestImportSaysWhatIsWrong(t *testing.T) {
	nameless := t.TempDir()
	index, err := layout.Write(nameless, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.AppendImage(randomImage(t)); err != nil {
		t.Fatal(err)
	}
	nothing := t.TempDir()
	if _, err := layout.Write(nothing, empty.Index); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("not an archive\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		nameless:          "its name is to stand in the annotation " + images.NameAnnotation,
		nothing:           "no image is in it",
		text:              "neither an OCI image layout nor a tar file of docker save",
		t.TempDir():       "neither an OCI image layout nor a tar file of docker save",
		"/no/such/path/x": "no such file",
	} {
		b := newBuilder(t)
		if _, err := b.Import(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
		if left, _ := filepath.Glob(filepath.Join(b.Store.Dir, "images", "*")); slices.ContainsFunc(left, func(p string) bool { return !strings.HasSuffix(p, ".lock") }) {
			t.Errorf("%s: left over: %v", path, left)
		}
	}
}

// FuzzImport brings in any file as an archive of images: it is one, or an error that names it.
func FuzzImport(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "mine.tar")
	img, err := random.Image(16, 1)
	if err != nil {
		f.Fatal(err)
	}
	if err := tarball.WriteToFile(path, name.MustParseReference("mine:v1"), img); err != nil {
		f.Fatal(err)
	}
	saved, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved)
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "mine.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := newBuilder(t).Import(t.Context(), path)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		if _, err := l.Images(); err != nil {
			t.Errorf("what was brought in cannot be listed: %v", err)
		}
	})
}
