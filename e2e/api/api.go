// Package api holds the specs of the API itself: what it refuses and how it says so, and
// what clients rely on when they read, change and watch objects.
package api

import (
	"github.com/onsi/ginkgo/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/suite"
)

// Sources of promises.
const (
	concepts    = "https://kubernetes.io/docs/reference/using-api/api-concepts/"
	objects     = "https://kubernetes.io/docs/concepts/overview/working-with-objects/"
	policies    = "https://kubernetes.io/docs/concepts/policy/"
	admission   = "https://kubernetes.io/docs/reference/access-authn-authz/"
	definitions = "https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/"
)

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("api", func() {
		validationSpecs(s)
		limitSpecs(s)
		writeSpecs(s)
		applySpecs(s)
		readSpecs(s)
		watchSpecs(s)
		deletionSpecs(s)
		protectionSpecs(s)
		fieldSpecs(s)
		accessSpecs(s)
		policySpecs(s)
		customSpecs(s)
		webhookSpecs(s)
		aggregationSpecs(s)
		fairnessSpecs(s)
		nodeRestrictionSpecs(s)
		frontProxySpecs(s)
		bootstrapTokenSpecs(s)
		bootstrapControllerSpecs(s)
		auditSpecs(s)
	})
}

func judged() []string { return []string{"kube-apiserver"} }

func configMap(namespace, name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
}

// idle is a pod that nothing runs: these specs ask the API alone.
func idle(namespace, name string) *corev1.Pod {
	pod := suite.Pod(namespace, name, suite.AgentContainer("pause"))
	pod.Spec.NodeSelector = map[string]string{"plumbline.dev/no-such-node": "true"}
	return pod
}
