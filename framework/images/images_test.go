package images_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/images"
)

func newBuilder(t *testing.T) images.Builder {
	t.Helper()
	return images.Builder{Store: cache.Store{Dir: t.TempDir()}, Progress: func(step string) { t.Log(step) }}
}

// files reads the regular files and links of an image's layers, the uppermost last.
func files(t *testing.T, built images.Layout, name string) map[string]string {
	t.Helper()
	named, err := built.Images()
	if err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(built.Dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, n := range named {
		if n.Name != name {
			continue
		}
		id, err := v1.NewHash(n.Descriptor.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		img, err := index.Image(id)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			readLayer(t, l, found)
		}
	}
	return found
}

func readLayer(t *testing.T, l v1.Layer, found map[string]string) {
	t.Helper()
	content, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	for archive := tar.NewReader(content); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found["/"+head.Name] = string(data) + head.Linkname
	}
}

func TestASetIsBuiltOnceAndKeepsItsContent(t *testing.T) {
	b := newBuilder(t)
	var steps atomic.Int32
	b.Progress = func(string) { steps.Add(1) }
	base := images.Text("base", map[string]string{"/etc/motd": "hello", "/etc/link": "-> motd"})
	set := images.Set{Name: "test", Recipes: []images.Recipe{
		{Names: []string{"example.org/a:1", "example.org/a:latest"}, Layers: []images.Layer{base}},
		{Names: []string{"example.org/b:1"}, Layers: []images.Layer{base, images.Text("more", map[string]string{"/etc/motd": "good-bye"})}},
	}}
	built, err := b.Build(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	if got := files(t, built, "example.org/a:latest"); got["/etc/motd"] != "hello" || got["/etc/link"] != "motd" {
		t.Errorf("a: %v", got)
	}
	if got := files(t, built, "example.org/b:1"); got["/etc/motd"] != "good-bye" {
		t.Errorf("b: %v", got)
	}
	blobs, err := os.ReadDir(filepath.Join(built.Dir, "blobs/sha256"))
	if err != nil || len(blobs) != 6 {
		t.Errorf("%d blobs, want two layers, two configurations and two manifests: %v", len(blobs), err)
	}
	steps.Store(0)
	again, err := b.Build(t.Context(), set)
	if err != nil || again != built || steps.Load() != 0 {
		t.Errorf("the second time: %v %v, %d steps", again, err, steps.Load())
	}
	set.Recipes[0].Config.Cmd = []string{"other"}
	if other, err := b.Build(t.Context(), set); err != nil || other == built {
		t.Errorf("with another recipe: %v %v", other, err)
	}
}

func TestMountPointsAreEmpty(t *testing.T) {
	set := images.Set{Name: "test", Recipes: []images.Recipe{{Names: []string{"example.org/a:1"}, Layers: []images.Layer{images.MountPoints()}}}}
	built, err := newBuilder(t).Build(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	got := files(t, built, "example.org/a:1")
	for _, path := range []string{"/proc/", "/sys/", "/dev/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/var/run/secrets/kubernetes.io/serviceaccount/"} {
		if content, has := got[path]; !has || content != "" {
			t.Errorf("%s is there: %t, with %q", path, has, content)
		}
	}
}

func TestTwoLayersOfOneNameMustBeTheSame(t *testing.T) {
	set := images.Set{Name: "test", Recipes: []images.Recipe{{Names: []string{"example.org/a:1"}, Layers: []images.Layer{
		images.Text("x", map[string]string{"/a": "1"}), images.Text("x", map[string]string{"/a": "2"}),
	}}}}
	if _, err := newBuilder(t).Build(t.Context(), set); err == nil || !strings.Contains(err.Error(), `another layer of the test images is called "x" too`) {
		t.Errorf("error %v", err)
	}
}
