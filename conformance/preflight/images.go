package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// imageLimit is how long nodes are given to say that they cannot have an image. A pull
// that takes longer is under way, which is all that can be asked.
const imageLimit = 8 * time.Second

// Images starts a pod with the images on each node and looks whether the node has them
// or can pull them.
func (c *Cluster) Images(ctx context.Context, images []string) error {
	if len(images) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, imageLimit)
	defer cancel()
	const label = "plumbline.dev/preflight"
	pods := c.Client.CoreV1().Pods(metav1.NamespaceDefault)
	var names []string
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		for _, name := range names {
			_ = pods.Delete(ctx, name, *metav1.NewDeleteOptions(0))
		}
	}()
	for _, node := range c.Nodes {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "plumb-preflight-", Labels: map[string]string{label: ""}},
			Spec:       corev1.PodSpec{NodeName: node, RestartPolicy: corev1.RestartPolicyNever},
		}
		for i, image := range images {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
				Name: fmt.Sprintf("image-%d", i), Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
			})
		}
		made, err := pods.Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("start a pod to look for images: %w", err)
		}
		names = append(names, made.Name)
	}
	events, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: label})
	if err != nil {
		return err
	}
	defer events.Stop()
	settled := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil
			}
			return ctx.Err()
		case event, ok := <-events.ResultChan():
			if !ok {
				return nil
			}
			pod, isPod := event.Object.(*corev1.Pod)
			if !isPod || event.Type == watch.Deleted {
				continue
			}
			have, err := imagesOf(pod)
			if err != nil {
				return err
			}
			if settled[pod.Name] = have; have && len(settled) == len(c.Nodes) && !slices.Contains(values(settled), false) {
				return nil
			}
		}
	}
}

// imagesOf says whether a pod's node has all of its images. That it cannot have one is an
// error.
func imagesOf(pod *corev1.Pod) (bool, error) {
	have := len(pod.Status.ContainerStatuses) == len(pod.Spec.Containers)
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil || status.State.Terminated != nil {
			continue
		}
		have = false
		waiting := status.State.Waiting
		if waiting == nil {
			continue
		}
		switch waiting.Reason {
		case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError":
			return false, fmt.Errorf("node %s cannot have image %s, which the suite needs: %s", pod.Spec.NodeName, status.Image, strings.TrimSpace(waiting.Message))
		}
	}
	return have, nil
}

func values(m map[string]bool) []bool {
	var list []bool
	for _, v := range m {
		list = append(list, v)
	}
	return list
}
