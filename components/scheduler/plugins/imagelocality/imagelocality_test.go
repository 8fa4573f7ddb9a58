package imagelocality

import (
	"maps"
	"testing"

	v1 "k8s.io/api/core/v1"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func TestScore(t *testing.T) {
	holds := func(name string, megabytes int64) func(*v1.Node) {
		return func(n *v1.Node) {
			n.Status.Images = append(n.Status.Images, v1.ContainerImage{Names: []string{name}, SizeBytes: megabytes << 20})
		}
	}
	uses := func(image string) func(*v1.Pod) {
		return func(p *v1.Pod) { p.Spec.Containers[0].Image = image }
	}
	cluster := NewCluster(t, Node("big", holds("db:latest", 1000), holds("web:1", 46)), Node("web", holds("web:1", 46)), Node("empty"), Node("small", holds("tiny:1", 10)))
	plugin := &ImageLocality{cluster}
	for _, test := range []struct {
		image string
		want  map[string]int64
	}{
		// On one of four nodes a quarter counts: (250-23)/(1000-23).
		{"db", map[string]int64{"big": 23, "web": 0, "empty": 0, "small": 0}},
		// On two of four, half of 46 MiB is just the floor.
		{"web:1", map[string]int64{"big": 0, "web": 0, "empty": 0, "small": 0}},
		{"localhost:5000/other", map[string]int64{"big": 0, "web": 0, "empty": 0, "small": 0}},
	} {
		if got := cluster.Score(t, plugin, Pod("p", uses(test.image))); !maps.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.image, got, test.want)
		}
	}
	if got := canonical("localhost:5000/other"); got != "localhost:5000/other:latest" {
		t.Error(got)
	}
}
