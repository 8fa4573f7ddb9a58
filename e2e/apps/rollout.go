package apps

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const revisionAnnotation = "deployment.kubernetes.io/revision"

func rolloutSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.rollback",
		Promise: "kubectl rollout undo brings a revision's template back as a new revision, on the ReplicaSet that has it.",
		Source:  deployments + "#rolling-back-a-deployment", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 2, suite.AgentContainer("pause"))
		deployment.Spec.Template.Annotations = map[string]string{"version": "1"}
		s.CreateRolledOut(ctx, deployment)
		for _, v := range []string{"2", "3"} {
			version(ctx, s, deployment, v)
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
		}
		first := replicaSets(ctx, s, deployment)["1"].Name
		s.Kubectl(ctx, "-n", namespace, "rollout", "undo", "deployment/web", "--to-revision=1")
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.Satisfy("be at revision 4", func(d *appsv1.Deployment) string {
			if d.Annotations[revisionAnnotation] != "4" || d.Spec.Template.Annotations["version"] != "1" {
				return fmt.Sprintf("revision %s, version %s", d.Annotations[revisionAnnotation], d.Spec.Template.Annotations["version"])
			}
			return ""
		}))).To(gomega.Succeed())
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
		sets := replicaSets(ctx, s, deployment)
		gomega.Expect(sets).To(gomega.HaveLen(3), "no ReplicaSet is made for a template that has one")
		gomega.Expect(sets["1"].Name).To(gomega.Equal(first))
		gomega.Expect(sets["1"].Annotations[revisionAnnotation]).To(gomega.Equal("4"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.pause",
		Promise: "A paused Deployment does not roll out a changed template until it is resumed.",
		Source:  deployments + "#pausing-and-resuming-a-deployment", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 2, suite.AgentContainer("pause"))
		s.CreateRolledOut(ctx, deployment)
		s.Kubectl(ctx, "-n", namespace, "rollout", "pause", "deployment/web")
		version(ctx, s, deployment, "2")
		gomega.Expect(s.Watch.Until(ctx, deployment, expect.Satisfy("have been observed", func(d *appsv1.Deployment) string {
			if d.Status.ObservedGeneration < d.Generation {
				return fmt.Sprintf("generation %d of %d", d.Status.ObservedGeneration, d.Generation)
			}
			return ""
		}))).To(gomega.Succeed())
		gomega.Expect(replicaSets(ctx, s, deployment)).To(gomega.HaveLen(1), "a paused Deployment made a ReplicaSet")
		// Scaling goes on while paused, which also shows that the controller is not asleep.
		suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](3) })
		gomega.Expect(s.Watch.Until(ctx, deployment, expect.Satisfy("have 3 available", func(d *appsv1.Deployment) string {
			if d.Status.AvailableReplicas != 3 {
				return fmt.Sprint(d.Status.AvailableReplicas)
			}
			return ""
		}))).To(gomega.Succeed())
		gomega.Expect(replicaSets(ctx, s, deployment)).To(gomega.HaveLen(1))
		s.Kubectl(ctx, "-n", namespace, "rollout", "resume", "deployment/web")
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.Satisfy("run version 2", func(d *appsv1.Deployment) string {
			if d.Spec.Paused || d.Status.UpdatedReplicas != 3 || d.Status.AvailableReplicas != 3 || d.Status.Replicas != 3 {
				return fmt.Sprintf("%+v", d.Status)
			}
			return ""
		}))).To(gomega.Succeed())
		gomega.Expect(*replicaSets(ctx, s, deployment)["2"].Spec.Replicas).To(gomega.Equal(int32(3)))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.proportional-scaling",
		Promise: "A Deployment that is scaled during a rollout shares the new replicas among its ReplicaSets by their size.",
		Source:  deployments + "#proportional-scaling", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 10, suite.AgentContainer("pause"))
		deployment.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{
			MaxSurge: ptr.To(intstr.FromInt32(3)), MaxUnavailable: ptr.To(intstr.FromInt32(2)),
		}
		s.CreateRolledOut(ctx, deployment)
		// The documentation's example: an update whose pods never start stops at 8 and 5.
		suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"version": "2"}
			d.Spec.Template.Spec.NodeSelector = map[string]string{"plumbline.dev/no-such-node": "true"}
		})
		shares := func(old, updated int32) {
			gomega.Expect(s.Watch.Within(expect.Long).UntilList(ctx, &appsv1.ReplicaSetList{}, expect.Satisfy(fmt.Sprintf("be of %d and %d replicas", old, updated), func(list *appsv1.ReplicaSetList) string {
				seen := map[string]int32{}
				for _, set := range list.Items {
					seen[set.Spec.Template.Annotations["version"]] = *set.Spec.Replicas
				}
				if seen[""] != old || seen["2"] != updated {
					return fmt.Sprint(seen)
				}
				return ""
			}), inNamespace(namespace))).To(gomega.Succeed())
		}
		shares(8, 5)
		suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](15) })
		shares(11, 7)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.progress-deadline",
		Promise: "A rollout that makes no progress for progressDeadlineSeconds is reported by the condition Progressing=False, ProgressDeadlineExceeded.",
		Source:  deployments + "#progress-deadline-seconds", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		container := suite.ServingContainer()
		container.Args = []string{"serve", "--ready-after=1h"}
		deployment := suite.Deployment(namespace, "web", 1, container)
		deployment.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
		s.Create(ctx, deployment)
		gomega.Expect(s.Watch.Until(ctx, deployment, haveProgress(corev1.ConditionFalse, "ProgressDeadlineExceeded"))).To(gomega.Succeed())
		suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Args = []string{"serve"} })
		gomega.Expect(s.Watch.Until(ctx, deployment, haveProgress(corev1.ConditionTrue, "NewReplicaSetAvailable"))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.deployment.revision-history-limit",
		Promise: "No more old ReplicaSets than revisionHistoryLimit are kept, and the oldest go first.",
		Source:  deployments + "#clean-up-policy", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 1, suite.AgentContainer("pause"))
		deployment.Spec.RevisionHistoryLimit = ptr.To[int32](1)
		deployment.Spec.Template.Annotations = map[string]string{"version": "1"}
		s.CreateRolledOut(ctx, deployment)
		for _, v := range []string{"2", "3"} {
			version(ctx, s, deployment, v)
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
		}
		gomega.Expect(s.Watch.UntilList(ctx, &appsv1.ReplicaSetList{}, expect.Satisfy("hold versions 2 and 3", func(list *appsv1.ReplicaSetList) string {
			versions := map[string]bool{}
			for _, set := range list.Items {
				versions[set.Spec.Template.Annotations["version"]] = true
			}
			if len(versions) != 2 || !versions["2"] || !versions["3"] {
				return fmt.Sprint(versions)
			}
			return ""
		}), inNamespace(namespace))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.replicaset.adoption",
		Promise: "A ReplicaSet adopts pods that match its selector and have no controller, and releases one whose labels change.",
		Source:  "https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#non-template-pod-acquisitions", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		orphan := suite.Pod(namespace, "web", suite.AgentContainer("pause"))
		s.CreateReady(ctx, orphan)
		template := suite.Deployment(namespace, "web", 2, suite.AgentContainer("pause"))
		set := &appsv1.ReplicaSet{ObjectMeta: template.ObjectMeta, Spec: appsv1.ReplicaSetSpec{
			Replicas: template.Spec.Replicas, Selector: template.Spec.Selector, Template: template.Spec.Template,
		}}
		s.Create(ctx, set)
		gomega.Expect(s.Watch.Until(ctx, set, expect.BeRolledOut())).To(gomega.Succeed())
		controlled := func(pod *corev1.Pod) string {
			for _, owner := range pod.OwnerReferences {
				if ptr.Deref(owner.Controller, false) && owner.UID == set.UID {
					return ""
				}
			}
			return fmt.Sprint(pod.OwnerReferences)
		}
		gomega.Expect(s.Watch.Until(ctx, orphan, expect.Satisfy("be controlled by the ReplicaSet", controlled))).To(gomega.Succeed())
		gomega.Expect(s.PodsOf(ctx, namespace, "web")).To(gomega.HaveLen(2), "the adopted pod counts")
		suite.Patch(ctx, s, orphan, func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "elsewhere"} })
		gomega.Expect(s.Watch.Until(ctx, orphan, expect.Satisfy("have no owner", func(pod *corev1.Pod) string {
			if len(pod.OwnerReferences) > 0 {
				return fmt.Sprint(pod.OwnerReferences)
			}
			return ""
		}))).To(gomega.Succeed())
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.PodList{}, expect.EachItem(2, expect.BeReady()), inNamespace(namespace), labelled("web"))).To(gomega.Succeed())
	})
}
