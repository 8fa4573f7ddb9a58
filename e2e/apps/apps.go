// Package apps holds the specs of workloads: Deployments and what they are made of, StatefulSets, DaemonSets and Jobs.
package apps

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const deployments = "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/"

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("apps", func() {
		rollingUpdateSpecs(s)
		rolloutSpecs(s)
		statefulSetSpecs(s)
		daemonSetSpecs(s)
		jobSpecs(s)
	})
}

// version changes a Deployment's template so that it is rolled out anew.
func version(ctx context.Context, s *suite.Suite, deployment *appsv1.Deployment, v string) {
	ginkgo.GinkgoHelper()
	suite.Patch(ctx, s, deployment, func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{"version": v}
	})
}

// record records a namespace's Deployments, ReplicaSets and pods until the spec ends.
func record(ctx context.Context, s *suite.Suite, namespace string) *expect.History {
	ginkgo.GinkgoHelper()
	in := []client.ListOption{client.InNamespace(namespace)}
	history, err := s.Watch.Record(ctx,
		expect.Source{List: &appsv1.DeploymentList{}, Options: in},
		expect.Source{List: &appsv1.ReplicaSetList{}, Options: in},
		expect.Source{List: &corev1.PodList{}, Options: in},
	)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(history.Close)
	return history
}

// available are the pods with app=name that are Ready and are to stay.
func available(state expect.State, name string) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range expect.Of[*corev1.Pod](state) {
		if pod.Labels["app"] != name || pod.DeletionTimestamp != nil {
			continue
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				found = append(found, pod)
			}
		}
	}
	return found
}

// wanted is how many pods all of a Deployment's ReplicaSets together are to have.
func wanted(state expect.State) int32 {
	var sum int32
	for _, set := range expect.Of[*appsv1.ReplicaSet](state) {
		sum += *set.Spec.Replicas
	}
	return sum
}

// replicaSets are those of a Deployment, by the version their template has.
func replicaSets(ctx context.Context, s *suite.Suite, deployment *appsv1.Deployment) map[string]*appsv1.ReplicaSet {
	ginkgo.GinkgoHelper()
	var list appsv1.ReplicaSetList
	gomega.Expect(s.Client.List(ctx, &list, client.InNamespace(deployment.Namespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels))).To(gomega.Succeed())
	sets := map[string]*appsv1.ReplicaSet{}
	for i := range list.Items {
		sets[list.Items[i].Spec.Template.Annotations["version"]] = &list.Items[i]
	}
	return sets
}

// haveProgress asks of a Deployment that its condition Progressing has a reason.
func haveProgress(status corev1.ConditionStatus, reason string) gomegatypes.GomegaMatcher {
	return expect.Satisfy(fmt.Sprintf("have the condition Progressing=%s for %s", status, reason), func(d *appsv1.Deployment) string {
		var seen []string
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing && c.Status == status && c.Reason == reason {
				return ""
			}
			seen = append(seen, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
		}
		return strings.Join(seen, "; ")
	})
}

func inNamespace(namespace string) client.ListOption { return client.InNamespace(namespace) }

func labelled(app string) client.ListOption { return client.MatchingLabels{"app": app} }
