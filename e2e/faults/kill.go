package faults

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/own"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/launch"
)

const components = "https://kubernetes.io/docs/concepts/overview/components/"

// killSpecs kill each component in turn, on one cluster.
func killSpecs(under *suite.Suite) {
	ginkgo.Describe("a component is killed", ginkgo.Ordered, ginkgo.ContinueOnFailure, ginkgo.Serial, ginkgo.Label(own.Label), func() {
		var s *suite.Suite
		var c *cluster.Cluster
		ginkgo.BeforeAll(func(ctx context.Context) {
			s, c = own.Boot(ctx, under, own.Describe("kill", 2))
		})
		for _, victim := range []struct{ machine, component string }{
			{v1alpha1.ControlPlaneName, cluster.Etcd},
			{v1alpha1.ControlPlaneName, cluster.APIServer},
			{v1alpha1.ControlPlaneName, cluster.ControllerManager},
			{v1alpha1.ControlPlaneName, cluster.Scheduler},
			{"node-1", cluster.Kubelet},
			{"node-1", cluster.Proxy},
			{"node-1", cluster.Containerd},
		} {
			behaviour.It(behaviour.Behaviour{
				ID:      "faults.kill." + victim.component,
				Promise: fmt.Sprintf("A rollout during which %s is killed completes once it is back, and no acknowledged write is lost.", victim.component),
				Source:  components, Judges: []string{victim.component},
			}, func(ctx context.Context) {
				namespace := s.Namespace(ctx)
				deployment := suite.Deployment(namespace, "web", 4, suite.AgentContainer("pause"))
				s.CreateRolledOut(ctx, deployment)
				writes := startWriter(ctx, s, namespace)
				suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) {
					d.Spec.Template.Annotations = map[string]string{"version": "2"}
				})
				gomega.Expect(s.Watch.Until(ctx, deployment, expect.Satisfy("be amid its rollout", func(d *appsv1.Deployment) string {
					if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < 1 {
						return fmt.Sprintf("%d replicas are updated", d.Status.UpdatedReplicas)
					}
					return ""
				}))).To(gomega.Succeed())

				running := c.Component(victim.machine, victim.component)
				killed := time.Now()
				gomega.Expect(running.Kill(ctx)).To(gomega.Succeed())
				waiting, cancel := context.WithTimeout(ctx, expect.Scaled(expect.Medium))
				defer cancel()
				gomega.Expect(running.WaitReady(waiting)).To(gomega.Succeed(), "%s does not come back", running)
				gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
				writes.verify(ctx)
				gomega.Expect(lifeAfter(c, victim.machine, victim.component, killed)).To(gomega.HavePrefix("killed, ended: killed by signal 9 (SIGKILL), started"))
				gomega.Expect(others(c, victim.machine, victim.component, killed)).To(gomega.BeEmpty(), "other components died with it")
			})
		}
	})
}

// lifeAfter puts what happened to a component since a moment into words.
func lifeAfter(c *cluster.Cluster, machine, component string, since time.Time) string {
	var words []string
	for _, event := range c.Events() {
		if event.Machine != machine || event.Component != component || event.Time.Before(since) {
			continue
		}
		word := string(event.Change)
		if event.Detail != "" {
			word += ": " + event.Detail
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// others are the components that ended since a moment besides the one that was to.
func others(c *cluster.Cluster, machine, component string, since time.Time) []string {
	var ended []string
	for _, event := range c.Events() {
		if event.Change == launch.Ended && !event.Time.Before(since) && (event.Machine != machine || event.Component != component) {
			ended = append(ended, event.String())
		}
	}
	return ended
}
