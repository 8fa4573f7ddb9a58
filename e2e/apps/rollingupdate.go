package apps

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func rollingUpdateSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.rolling-update.bounds",
		Promise: "A rolling update never has fewer than replicas - maxUnavailable pods available, nor asks for more than replicas + maxSurge.",
		Source:  deployments + "#rolling-update-deployment", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		for _, bounds := range []struct{ surge, unavailable intstr.IntOrString }{
			{intstr.FromInt32(1), intstr.FromInt32(0)},
			{intstr.FromInt32(0), intstr.FromInt32(1)},
			{intstr.FromString("50%"), intstr.FromString("25%")}, // of 4: 2 more, 1 less
		} {
			namespace := s.Namespace(ctx)
			deployment := suite.Deployment(namespace, "web", 4, suite.ServingContainer())
			deployment.Spec.Strategy = appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &bounds.surge, MaxUnavailable: &bounds.unavailable},
			}
			s.CreateRolledOut(ctx, deployment)
			surge, err := intstr.GetScaledValueFromIntOrPercent(&bounds.surge, 4, true)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			unavailable, err := intstr.GetScaledValueFromIntOrPercent(&bounds.unavailable, 4, false)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())

			history := record(ctx, s, namespace)
			version(ctx, s, deployment, "2")
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
			gomega.Expect(history.Judge(ctx, func(state expect.State) error {
				if n := len(available(state, "web")); n < 4-unavailable {
					return fmt.Errorf("%d pods are available, with maxUnavailable %s at least %d are promised", n, &bounds.unavailable, 4-unavailable)
				}
				if n := wanted(state); int(n) > 4+surge {
					return fmt.Errorf("the ReplicaSets ask for %d pods, with maxSurge %s at most %d are promised", n, &bounds.surge, 4+surge)
				}
				return nil
			})).To(gomega.Succeed())
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.rolling-update.no-lost-request",
		Promise: "A rolling update of pods with a readiness probe and a preStop hook loses no request to their Service.",
		Source:  "https://kubernetes.io/docs/tutorials/services/pods-and-endpoint-termination-flow/", Judges: []string{"kube-controller-manager", "kubelet", "kube-proxy"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		container := suite.ServingContainer()
		// Long enough for every node to hear that the pod is no endpoint any more.
		pause := int64(expect.Scaled(3 * time.Second).Seconds())
		container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: pause}}}
		deployment := suite.Deployment(namespace, "web", 3, container)
		deployment.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To(pause + 7)
		deployment.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1))}
		service := suite.Service(namespace, "web")
		s.Create(ctx, service)
		s.CreateRolledOut(ctx, deployment)

		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		probe := suite.Pod(namespace, "probe", suite.AgentContainer("pause"))
		s.CreateReady(ctx, probe)
		gomega.Eventually(ctx, func() string { return s.Connect(ctx, probe, url).Error }).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.BeEmpty()) // the node's rules follow the endpoints
		hammer := suite.Pod(namespace, "hammer", suite.AgentContainer("hammer", "--report=:9000", "--every=10ms", "--timeout="+expect.Scaled(2*time.Second).String(), url))
		s.CreateReady(ctx, hammer)
		tally := func() suite.Tally {
			var tally suite.Tally
			reply := s.Connect(ctx, hammer, "http://127.0.0.1:9000/").Reply
			gomega.Expect(json.Unmarshal([]byte(reply), &tally)).To(gomega.Succeed(), reply)
			return tally
		}
		old := s.PodsOf(ctx, namespace, "web")
		gomega.Eventually(ctx, func() int { return tally().Requests }).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.BeNumerically(">", 20))

		version(ctx, s, deployment, "2")
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
		for i := range old {
			gomega.Expect(s.Watch.Gone(ctx, &old[i])).To(gomega.Succeed())
		}
		after := tally()
		gomega.Expect(after.Failed).To(gomega.BeZero(), "of %d requests: %v", after.Requests, after.Errors)
		for i := range old {
			gomega.Expect(after.Hosts).To(gomega.HaveKey(old[i].Name), "the old pods were asked")
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.rollover",
		Promise: "A template that changes during a rollout is rolled out at once; the rollout before is abandoned.",
		Source:  deployments + "#rollover-aka-multiple-updates-in-flight", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 3, suite.ServingContainer())
		s.CreateRolledOut(ctx, deployment)
		// The second version never becomes ready, so its rollout cannot end.
		suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"version": "2"}
			d.Spec.Template.Spec.Containers[0].Args = []string{"serve", "--ready-after=1h"}
		})
		gomega.Expect(s.Watch.Until(ctx, deployment, expect.Satisfy("have an updated pod", func(d *appsv1.Deployment) string {
			if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas == 0 {
				return "none is updated"
			}
			return ""
		}))).To(gomega.Succeed())
		suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"version": "3"}
			d.Spec.Template.Spec.Containers[0].Args = []string{"serve"}
		})
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
		sets := replicaSets(ctx, s, deployment)
		gomega.Expect(sets).To(gomega.HaveLen(3))
		for v, replicas := range map[string]int32{"": 0, "2": 0, "3": 3} {
			gomega.Expect(*sets[v].Spec.Replicas).To(gomega.Equal(replicas), "version %q", v)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.recreate",
		Promise: "With the strategy Recreate no new pod exists before every old one has been killed.",
		Source:  deployments + "#recreate-deployment", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 3, suite.ServingContainer())
		deployment.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		s.CreateRolledOut(ctx, deployment)
		history := record(ctx, s, namespace)
		version(ctx, s, deployment, "2")
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
		gomega.Expect(history.Judge(ctx, func(state expect.State) error {
			versions := map[string][]string{}
			for _, pod := range expect.Of[*corev1.Pod](state) {
				if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
					continue // all of its containers have ended for good
				}
				versions[pod.Annotations["version"]] = append(versions[pod.Annotations["version"]], pod.Name)
			}
			if len(versions) > 1 {
				return fmt.Errorf("pods of both versions run: %v", versions)
			}
			return nil
		})).To(gomega.Succeed())
	})
}
