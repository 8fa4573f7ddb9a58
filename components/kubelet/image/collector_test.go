package image

import (
	"context"
	"slices"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	critesting "k8s.io/cri-api/pkg/apis/testing"
)

// store has images of 10 bytes each, one of which a container runs.
func store(t *testing.T, names ...string) (*critesting.FakeImageService, *critesting.FakeRuntimeService) {
	t.Helper()
	images, runtime := critesting.NewFakeImageService(), critesting.NewFakeRuntimeService()
	for _, name := range names {
		images.Images[name] = &runtimeapi.Image{Id: name, RepoTags: []string{"registry.k8s.io/" + name + ":1"}, Size: 10}
	}
	runtime.SetFakeContainers([]*critesting.FakeContainer{{
		ContainerStatus: runtimeapi.ContainerStatus{Id: "c", Image: &runtimeapi.ImageSpec{Image: "running"}, ImageRef: "running"},
	}})
	return images, runtime
}

func left(images *critesting.FakeImageService) []string {
	var out []string
	for _, image := range images.Images {
		out = append(out, image.Id)
	}
	slices.Sort(out)
	return out
}

func TestCollectDownToTheLowThreshold(t *testing.T) {
	ctx := context.Background()
	long := time.Now().Add(-time.Hour)
	tests := []struct {
		name   string
		used   uint64
		minAge time.Duration
		maxAge time.Duration
		want   []string
		warned bool
	}{
		{"room enough", 79, 0, 0, []string{"mounted", "new", "old", "running"}, false},
		{"too full: the longest unused goes", 80, 0, 0, []string{"mounted", "new", "running"}, false},
		{"all that is not in use is too little", 100, 0, 0, []string{"mounted", "running"}, true},
		{"too young to go", 80, 2 * time.Hour, 0, []string{"mounted", "new", "old", "running"}, true},
		{"unused for too long", 10, 0, 30 * time.Minute, []string{"mounted", "new", "running"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			images, runtime := store(t, "running", "mounted", "old", "new")
			warned := false
			g := NewCollector(CollectorConfig{
				Images: images, Runtime: runtime, High: 80, Low: 70, MinAge: test.minAge, MaxAge: test.maxAge,
				Mounted: func() []string { return []string{"registry.k8s.io/mounted:1"} },
				Disk:    func(context.Context) (uint64, uint64, error) { return test.used, 100, nil },
				Warn:    func(string, string) { warned = true },
			})
			g.seen["old"] = record{first: long, used: long}
			if err := g.collect(ctx); err != nil {
				t.Fatal(err)
			}
			if got := left(images); !slices.Equal(got, test.want) {
				t.Errorf("left %v, want %v", got, test.want)
			}
			if warned != test.warned {
				t.Errorf("warned %v, want %v", warned, test.warned)
			}
		})
	}
}
