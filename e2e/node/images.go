package node

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const images = concepts + "containers/images/"

func imageSpecs(s *suite.Suite) {
	missing := func(policy corev1.PullPolicy) corev1.Container {
		// Nothing listens there: the pull fails at once, without a look-up of a name.
		return corev1.Container{Name: "main", Image: "127.0.0.1:1/plumbline/missing:v1", ImagePullPolicy: policy}
	}

	behaviour.It(behaviour.Behaviour{
		ID:      "node.image.back-off",
		Promise: "A container whose image cannot be pulled waits with the reason ErrImagePull, then ImagePullBackOff.",
		Source:  images + "#imagepullbackoff", Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "missing", missing(corev1.PullIfNotPresent))
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("main", "ErrImagePull", "ImagePullBackOff"))).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("main", "ImagePullBackOff"))).To(gomega.Succeed())
		gomega.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodPending))
		gomega.Expect(statusOf(pod, "main").State.Waiting.Message).To(gomega.ContainSubstring(pod.Spec.Containers[0].Image))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.image.always",
		Promise: "With imagePullPolicy Always the registry is asked although the node has the image; a tag latest means that policy.",
		Source:  images + "#imagepullpolicy-defaulting", Judges: append(judged(), "kube-apiserver"),
	}, func(ctx context.Context) {
		named, latest := shell("named", "true"), shell("latest", "true")
		named.ImagePullPolicy = corev1.PullAlways
		latest.Image, latest.ImagePullPolicy = "busybox:latest", ""
		pod := task(s.Namespace(ctx), named, latest)
		s.Create(ctx, pod)
		gomega.Expect(pod.Spec.Containers[1].ImagePullPolicy).To(gomega.Equal(corev1.PullAlways))
		gomega.Expect(s.Watch.Until(ctx, pod, expect.HavePhase(corev1.PodSucceeded))).To(gomega.Succeed())
		for _, container := range pod.Spec.Containers {
			gomega.Expect(s.Watch.UntilList(ctx, &corev1.EventList{}, haveEventAbout("Pulled", fmt.Sprintf("Successfully pulled image %q", container.Image)),
				inNamespace(pod))).To(gomega.Succeed())
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.image.unknown",
		Promise: "An image that its registry does not know is reported as not found, and keeps no other container of the pod from running.",
		Source:  images + "#imagepullbackoff", Judges: judged(),
	}, func(ctx context.Context) {
		unknown := corev1.Container{Name: "unknown", Image: "registry.k8s.io/pause:no-such-tag", ImagePullPolicy: corev1.PullIfNotPresent}
		pod := task(s.Namespace(ctx), unknown, suite.AgentContainer("pause"))
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("unknown", "ErrImagePull", "ImagePullBackOff"))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "unknown").State.Waiting.Message).To(gomega.ContainSubstring("not found"))
		gomega.Expect(s.Watch.Until(ctx, pod, haveContainer("agent", "running", func(status corev1.ContainerStatus) bool {
			return status.State.Running != nil
		}))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.image.never",
		Promise: "With imagePullPolicy Never an image that the node does not have is not pulled: ErrImageNeverPull.",
		Source:  images + "#image-pull-policy", Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "never", missing(corev1.PullNever))
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("main", "ErrImageNeverPull"))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.image.bad-name",
		Promise: "A container whose image is no image name waits with the reason InvalidImageName.",
		Source:  images + "#image-names", Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "bad", missing(corev1.PullIfNotPresent))
		pod.Spec.Containers[0].Image = "Not/An/Image:::"
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("main", "InvalidImageName"))).To(gomega.Succeed())
	})
}
