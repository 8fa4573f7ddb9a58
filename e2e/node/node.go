// Package node holds the specs of what a kubelet does for a pod: the order in which its
// containers start and end, what they find around them, and what is reported of them.
package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// Sources of promises.
const (
	concepts     = "https://kubernetes.io/docs/concepts/"
	tasks        = "https://kubernetes.io/docs/tasks/"
	podLifecycle = concepts + "workloads/pods/pod-lifecycle/"
	volumes      = concepts + "storage/volumes/"
)

// busybox has a shell.
const busybox = "busybox:1.36"

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("node", func() {
		initSpecs(s)
		sidecarSpecs(s)
		terminationSpecs(s)
		hookSpecs(s)
		probeSpecs(s)
		restartSpecs(s)
		environmentSpecs(s)
		volumeSpecs(s)
		sourceSpecs(s)
		securitySpecs(s)
		resourceSpecs(s)
		resizeSpecs(s)
		trustSpecs(s)
		identitySpecs(s)
		imageSpecs(s)
		logSpecs(s)
		statusSpecs(s)
	})
}

// judged is the component that these specs judge.
func judged() []string { return []string{"kubelet"} }

// shell runs a script.
func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: busybox, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", script}}
}

// task is a pod that runs its containers once.
func task(namespace string, containers ...corev1.Container) *corev1.Pod {
	pod := suite.Pod(namespace, "task", containers[0])
	pod.Spec.Containers = containers
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return pod
}

// printed runs a task to its end, which must be a success, and returns the lines that its
// first container printed.
func printed(ctx context.Context, s *suite.Suite, pod *corev1.Pod) []string {
	ginkgo.GinkgoHelper()
	s.Create(ctx, pod)
	gomega.Expect(s.Watch.Until(ctx, pod, haveEnded())).To(gomega.Succeed())
	text := s.Logs(ctx, pod)
	gomega.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodSucceeded), text)
	return lines(text)
}

func lines(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func haveEnded() types.GomegaMatcher {
	return expect.Satisfy("have ended", func(pod *corev1.Pod) string {
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			return fmt.Sprintf("it is %s: %+v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return ""
	})
}

// statusOf is what is reported of one container of any sort.
func statusOf(pod *corev1.Pod, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for _, status := range list {
			if status.Name == name {
				return status
			}
		}
	}
	return corev1.ContainerStatus{}
}

// haveContainer asks of a pod that one container's status is as wanted.
func haveContainer(name, what string, wanted func(corev1.ContainerStatus) bool) types.GomegaMatcher {
	return expect.Satisfy("have container "+name+" "+what, func(pod *corev1.Pod) string {
		if status := statusOf(pod, name); !wanted(status) {
			return fmt.Sprintf("phase %s, %s: %+v", pod.Status.Phase, pod.Status.Reason, status)
		}
		return ""
	})
}

func haveTerminated(name string) types.GomegaMatcher {
	return haveContainer(name, "terminated", func(status corev1.ContainerStatus) bool { return status.State.Terminated != nil })
}

func haveWaiting(name string, reasons ...string) types.GomegaMatcher {
	return haveContainer(name, "waiting: "+strings.Join(reasons, " or "), func(status corev1.ContainerStatus) bool {
		for _, reason := range reasons {
			if status.State.Waiting != nil && status.State.Waiting.Reason == reason {
				return true
			}
		}
		return false
	})
}

func haveRestarted(name string, times int32) types.GomegaMatcher {
	return haveContainer(name, fmt.Sprintf("restarted %d times", times), func(status corev1.ContainerStatus) bool {
		return status.RestartCount >= times
	})
}

// mount gives every container of a pod a volume at /<name>.
func mount(pod *corev1.Pod, name string, source corev1.VolumeSource) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			list[i].VolumeMounts = append(list[i].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
		}
	}
}

func scratch() corev1.VolumeSource {
	return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
}

// haveEvent asks of a list of events that one has a reason.
func haveEvent(reason string) types.GomegaMatcher { return haveEventAbout(reason, "") }

// haveEventAbout asks of a list of events that one has a reason and a message that begins so.
func haveEventAbout(reason, message string) types.GomegaMatcher {
	return expect.Satisfy("hold "+reason+" "+message, func(list *corev1.EventList) string {
		var seen []string
		for i := range list.Items {
			if list.Items[i].Reason == reason && strings.HasPrefix(list.Items[i].Message, message) {
				return ""
			}
			seen = append(seen, list.Items[i].Reason)
		}
		return fmt.Sprint(seen)
	})
}

func inNamespace(object client.Object) client.ListOption {
	return client.InNamespace(object.GetNamespace())
}

func clientKey(namespace, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: name}
}

const strategicMerge = apitypes.StrategicMergePatchType
