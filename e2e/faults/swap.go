package faults

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/own"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
)

// idle is a program with any command line that does nothing.
const idle = "#!/bin/sh\nexec sleep infinity\n"

func swapSpecs(under *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "faults.swap.scheduler",
		Promise: "A cluster whose scheduler does nothing boots; pods stay Pending without a condition, and those that name their node run.",
		Source:  "https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/", Judges: []string{"kube-apiserver", "kubelet"},
	}, ginkgo.Serial, ginkgo.Label(own.Label), func(ctx context.Context) {
		program := filepath.Join(ginkgo.GinkgoT().TempDir(), "idle-scheduler")
		gomega.Expect(os.WriteFile(program, []byte(idle), 0o755)).To(gomega.Succeed())
		description := own.Describe("swap", 1)
		description.Spec.Components = map[string]v1alpha1.Component{cluster.Scheduler: {Program: program}}
		s, c := own.Boot(ctx, under, description)
		gomega.Expect(c.Component(v1alpha1.ControlPlaneName, cluster.Scheduler).State()).To(gomega.Equal("running"))

		namespace := s.Namespace(ctx)
		left := suite.Pod(namespace, "left", suite.AgentContainer("pause"))
		s.Create(ctx, left)
		s.CreateReady(ctx, suite.OnNode(suite.Pod(namespace, "placed", suite.AgentContainer("pause")), "node-1"))
		gomega.Expect(s.Watch.Throughout(ctx, 2*time.Second, left, expect.Satisfy("be left alone", func(pod *corev1.Pod) string {
			if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName != "" || len(pod.Status.Conditions) > 0 {
				return string(pod.Status.Phase) + " on " + pod.Spec.NodeName + ", with conditions: " + pod.Status.String()
			}
			return ""
		}))).To(gomega.Succeed())
	})
}
