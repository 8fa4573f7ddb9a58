// Package imagelocality is the ImageLocality plugin: nodes that hold the pod's images score by their size, scaled by
// how widely each image is spread, so that not every pod runs to the first node with an image.
package imagelocality

import (
	"context"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// Name of the plugin.
const Name = "ImageLocality"

const (
	mebibyte = 1 << 20
	// floor is the sum of image sizes below which a node scores 0; perImage, times the number of images, scores 100.
	floor    int64 = 23 * mebibyte
	perImage int64 = 1000 * mebibyte
)

// ImageLocality scores by images.
type ImageLocality struct{ handle fwk.Handle }

var _ fwk.ScorePlugin = &ImageLocality{}

// New makes the plugin.
func New(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	return &ImageLocality{handle}, nil
}

// Name returns the plugin's name.
func (*ImageLocality) Name() string { return Name }

// Covers says that a class tells the plugin all about a pod.
func (*ImageLocality) Covers(*v1.Pod) bool { return true }

// Scale says that scores are in range.
func (*ImageLocality) Scale() equivalence.Scale { return equivalence.AsIs }

// ScoreExtensions is nil: scores are in range.
func (*ImageLocality) ScoreExtensions() fwk.ScoreExtensions { return nil }

// Score weighs the images on the node.
func (l *ImageLocality) Score(_ context.Context, _ fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	nodes, err := l.handle.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		return 0, fwk.AsStatus(err)
	}
	var sum, images int64
	weigh := func(reference string) {
		images++
		if state, found := node.GetImageStates()[canonical(reference)]; found {
			sum += int64(float64(state.Size) * (float64(state.NumNodes) / float64(len(nodes))))
		}
	}
	for i := range pod.Spec.InitContainers {
		weigh(pod.Spec.InitContainers[i].Image)
	}
	for i := range pod.Spec.Containers {
		weigh(pod.Spec.Containers[i].Image)
	}
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			weigh(image.Reference)
		}
	}
	ceiling := perImage * images
	sum = min(max(sum, floor), max(ceiling, floor))
	if ceiling <= floor {
		return 0, nil
	}
	return fwk.MaxScore * (sum - floor) / (ceiling - floor), nil
}

// canonical adds the tag that an image reference leaves out.
func canonical(reference string) string {
	if strings.LastIndexByte(reference, ':') > strings.LastIndexByte(reference, '/') {
		return reference
	}
	return reference + ":latest"
}
