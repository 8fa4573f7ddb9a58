package api

import (
	"context"
	"os"
	"path/filepath"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

// manifest writes a file for kubectl.
func manifest(text string) string {
	ginkgo.GinkgoHelper()
	path := filepath.Join(ginkgo.GinkgoT().TempDir(), "manifest.yaml")
	gomega.Expect(os.WriteFile(path, []byte(text), 0o600)).To(gomega.Succeed())
	return path
}

// refused creates from a manifest what the server must not take, and returns what
// kubectl said.
func refused(ctx context.Context, s *suite.Suite, namespace, text string) string {
	ginkgo.GinkgoHelper()
	_, stderr, err := s.TryKubectl(ctx, "-n", namespace, "create", "--validate=strict", "-f", manifest(text))
	gomega.Expect(err).To(gomega.HaveOccurred(), text)
	return stderr
}

func validationSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.validation.unknown-field",
		Promise: "A field that does not exist is refused by strict validation, with its path.",
		Source:  concepts + "#setting-the-field-validation-level", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		gomega.Expect(refused(ctx, s, namespace, `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a, imagePolicy: Never}]}}`)).
			To(gomega.ContainSubstring(`strict decoding error: unknown field "spec.containers[0].imagePolicy"`))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.validation.wrong-type",
		Promise: "A value of the wrong type is refused with a message that names the field.",
		Source:  concepts, Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		gomega.Expect(refused(ctx, s, namespace, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: many}}`)).
			To(gomega.And(gomega.ContainSubstring("BadRequest"), gomega.ContainSubstring("replicas")))
		gomega.Expect(refused(ctx, s, namespace, `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {count: 5}}`)).
			To(gomega.And(gomega.ContainSubstring("BadRequest"), gomega.ContainSubstring("cannot unmarshal number")))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.validation.every-mistake",
		Promise: "An invalid object is refused with every mistake in it, each with its path, its value and what would be right.",
		Source:  objects + "names/", Judges: judged(),
	}, func(ctx context.Context) {
		pod := idle(s.Namespace(ctx), "Not_A_Name")
		pod.Labels = map[string]string{"app": "no spaces please"}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "agent"})
		pod.Spec.RestartPolicy = "Sometimes"
		err := s.Client.Create(ctx, pod)
		gomega.Expect(apierrors.IsInvalid(err)).To(gomega.BeTrue(), "%v", err)
		for _, part := range []string{
			`metadata.name: Invalid value: "Not_A_Name": a lowercase RFC 1123 subdomain must consist of`,
			`metadata.labels: Invalid value: "no spaces please": a valid label must be`,
			`spec.containers[1].image: Required value`,
			`spec.containers[1].name: Duplicate value: "agent"`,
			`spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`,
		} {
			gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring(part)))
		}
		causes := err.(apierrors.APIStatus).Status().Details.Causes
		gomega.Expect(causes).To(gomega.ContainElement(gomega.HaveField("Field", "spec.containers[1].image")))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.validation.immutable",
		Promise: "A change of a field that cannot change is refused: a Deployment's selector, a Service's cluster IP, most of a pod's spec.",
		Source:  "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#label-selector-updates", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment, service, pod := suite.Deployment(namespace, "web", 0, suite.AgentContainer("pause")), suite.Service(namespace, "web"), idle(namespace, "web")
		s.Create(ctx, deployment, service, pod)
		change := func(object client.Object, patch, message string) {
			ginkgo.GinkgoHelper()
			err := s.Client.Patch(ctx, object, client.RawPatch(mergePatch, []byte(patch)))
			gomega.Expect(apierrors.IsInvalid(err)).To(gomega.BeTrue(), "%v", err)
			gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring(message)))
		}
		change(deployment, `{"spec":{"selector":{"matchLabels":{"tier":"x"}},"template":{"metadata":{"labels":{"tier":"x"}}}}}`, "spec.selector: Invalid value")
		change(deployment.DeepCopy(), `{"spec":{"selector":{"matchLabels":{"tier":"x"}},"template":{"metadata":{"labels":{"tier":"x"}}}}}`, "field is immutable")
		change(service, `{"spec":{"clusterIP":"10.96.250.250","clusterIPs":["10.96.250.250"]}}`, "spec.clusterIPs[0]: Invalid value: [\"10.96.250.250\"]: may not change once set")
		change(pod, `{"spec":{"restartPolicy":"Never"}}`, "spec: Forbidden: pod updates may not change fields other than")
	})
}
