package faults

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/supervisor"
)

func staticPodSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "faults.static-pod",
		Promise: "A manifest in a node's directory runs as a static pod with a mirror that the API cannot end, and goes with its file.",
		Source:  "https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/", Judges: []string{"kubelet"},
	}, func(ctx context.Context) {
		machines := s.OwnMachines()
		namespace := s.Namespace(ctx)
		node := s.Nodes(ctx, 1)[0]
		pod := suite.Pod(namespace, "static", suite.AgentContainer("pause"))
		pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		manifest, err := yaml.Marshal(pod)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		file := "/etc/kubernetes/manifests/" + namespace + ".yaml"
		ginkgo.DeferCleanup(func(ctx context.Context) { inMachine(ctx, machines, node, "rm -f "+file) })
		inMachine(ctx, machines, node, fmt.Sprintf("mkdir -p /etc/kubernetes/manifests && cat > %s <<'END'\n%s\nEND", file, manifest))

		mirror := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "static-" + node}}
		patient := s.Watch.Within(time.Minute) // the directory may be looked through only now and then
		gomega.Expect(patient.Until(ctx, mirror, expect.BeReady())).To(gomega.Succeed())
		gomega.Expect(mirror.Spec.NodeName).To(gomega.Equal(node))
		gomega.Expect(mirror.Annotations).To(gomega.HaveKey(corev1.MirrorPodAnnotationKey))
		gomega.Expect(mirror.OwnerReferences).To(gomega.ConsistOf(gomega.HaveField("Kind", "Node")))

		first, container := mirror.UID, mirror.Status.ContainerStatuses[0].ContainerID
		s.Delete(ctx, mirror, metav1.DeletePropagationBackground)
		gomega.Expect(patient.Until(ctx, mirror, beAnother(first))).To(gomega.Succeed())
		gomega.Expect(mirror.Status.ContainerStatuses[0].ContainerID).To(gomega.Equal(container), "the pod behind the mirror was touched")

		inMachine(ctx, machines, node, "rm "+file)
		gomega.Expect(patient.Gone(ctx, mirror)).To(gomega.Succeed())
	})
}

// beAnother asks of a pod that it is Ready and not the one with an identity.
func beAnother(uid types.UID) gomegatypes.GomegaMatcher {
	ready := expect.BeReady()
	return expect.Satisfy("be a new and ready object", func(pod *corev1.Pod) string {
		if pod.UID == uid {
			return "it is the old one"
		}
		if ok, _ := ready.Match(pod); !ok {
			return ready.FailureMessage(pod)
		}
		return ""
	})
}

// inMachine runs a shell script in a machine, which must succeed.
func inMachine(ctx context.Context, machines *supervisor.Client, name, script string) {
	ginkgo.GinkgoHelper()
	null, err := os.Open(os.DevNull)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	defer null.Close()
	exit, err := machines.Exec(ctx, name, machine.Command{Args: []string{"sh", "-c", script}, Stdin: null, Stdout: os.Stderr, Stderr: os.Stderr})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(exit.Code).To(gomega.Equal(0), "%s: %s", script, exit)
}
