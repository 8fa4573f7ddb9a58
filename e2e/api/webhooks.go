package api

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/pki"
)

// securePort is where the agent answers HTTPS in these specs.
const securePort = 8443

// secureServer runs the agent behind the Service "secure" of a namespace, with a certificate in that Service's name, and
// returns the authority that vouches for it. files are shown to it below /answers, by their path there.
func secureServer(ctx context.Context, s *suite.Suite, namespace string, files map[string]string) []byte {
	ginkgo.GinkgoHelper()
	const name = "secure"
	authority, err := pki.NewAuthority("e2e")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	pair, err := authority.Server(name, name+"."+namespace+".svc")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	s.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: pair.Cert, corev1.TLSPrivateKeyKey: pair.Key},
	})
	container := suite.ServingContainer()
	container.Args = []string{"serve", "--https=:8443", "--cert=/keys/tls.crt", "--key=/keys/tls.key", "--answers=/answers"}
	container.Ports = append(container.Ports, corev1.ContainerPort{Name: "https", ContainerPort: securePort})
	container.VolumeMounts = []corev1.VolumeMount{{Name: "keys", MountPath: "/keys"}}
	pod := suite.Pod(namespace, name, container)
	pod.Spec.Volumes = []corev1.Volume{{Name: "keys", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}}
	if len(files) > 0 {
		answers := configMap(namespace, "answers", map[string]string{})
		var items []corev1.KeyToPath
		for path, content := range files {
			key := string(rune('a' + len(items)))
			answers.Data[key] = content
			items = append(items, corev1.KeyToPath{Key: key, Path: path})
		}
		s.Create(ctx, answers)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "answers", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: answers.Name}, Items: items,
		}}})
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "answers", MountPath: "/answers"})
	}
	service := suite.Service(namespace, name)
	service.Spec.Ports[0].Name, service.Spec.Ports[0].Port, service.Spec.Ports[0].TargetPort.StrVal = "https", 443, "https"
	s.Create(ctx, service)
	s.CreateReady(ctx, pod)
	return authority.Cert
}

// configMapsOf limits webhooks to what is created and changed of one namespace's config maps.
func configMapsOf(namespace string) (rules []admissionv1.RuleWithOperations, selector *metav1.LabelSelector) {
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}, &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace}}
}

func validating(namespace string, authority []byte, path string) *admissionv1.ValidatingWebhookConfiguration {
	rules, selector := configMapsOf(namespace)
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "judge.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionv1.SideEffectClassNone),
			ClientConfig: admissionv1.WebhookClientConfig{CABundle: authority, Service: &admissionv1.ServiceReference{Namespace: namespace, Name: "secure", Path: &path}},
			Rules:        rules, NamespaceSelector: selector, TimeoutSeconds: ptr.To[int32](2),
		}},
	}
}

func webhookSpecs(s *suite.Suite) {
	const source = admission + "extensible-admission-controllers/"
	register := func(ctx context.Context, configuration client.Object) {
		ginkgo.GinkgoHelper()
		s.Create(ctx, configuration)
		ginkgo.DeferCleanup(func(ctx context.Context) { s.Delete(ctx, configuration, metav1.DeletePropagationBackground) })
	}
	// Admission learns of webhooks in its own time; nothing in the API says when it has.
	try := func(ctx context.Context, object client.Object) func() error {
		return func() error { return s.Client.Create(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll) }
	}
	behaviour.It(behaviour.Behaviour{
		ID:      "api.webhook.validating",
		Promise: "A validating webhook refuses what it is asked about, with its own message, and is asked only about what its rules and selectors name.",
		Source:  source, Judges: judged(),
	}, func(ctx context.Context) {
		namespace, elsewhere := s.Namespace(ctx), s.Namespace(ctx)
		authority := secureServer(ctx, s, namespace, nil)
		register(ctx, validating(namespace, authority, "/admit/deny"))
		gomega.Eventually(ctx, try(ctx, configMap(namespace, "any", nil))).WithTimeout(expect.Scaled(expect.Medium)).
			Should(gomega.MatchError(gomega.ContainSubstring(`admission webhook "judge.example.com" denied the request: the agent refuses`)))
		s.Create(ctx, configMap(elsewhere, "any", nil), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "any"}})
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.webhook.warnings",
		Promise: "What a webhook warns of reaches the client, and the object is stored.",
		Source:  source + "#response", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		authority := secureServer(ctx, s, namespace, nil)
		register(ctx, validating(namespace, authority, "/admit/warn"))
		said := make(warnings, 100)
		config := rest.CopyConfig(s.Config)
		config.WarningHandler = said
		listening, err := kubernetes.NewForConfig(config)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			_, err := listening.CoreV1().ConfigMaps(namespace).Create(ctx, configMap(namespace, "any", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(said).To(gomega.Receive(gomega.Equal("the agent warns")))
		}).WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.webhook.failure-policy",
		Promise: "A webhook that does not answer fails the request where its policy is Fail, and is passed over where it is Ignore.",
		Source:  source + "#failure-policy", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		absent := validating(namespace, nil, "/")
		absent.Webhooks[0].ClientConfig.Service.Name = "absent"
		register(ctx, absent)
		gomega.Eventually(ctx, try(ctx, configMap(namespace, "any", nil))).WithTimeout(expect.Scaled(expect.Medium)).
			Should(gomega.MatchError(gomega.ContainSubstring(`failed calling webhook "judge.example.com"`)))
		suite.Patch(ctx, s, absent, func(c *admissionv1.ValidatingWebhookConfiguration) {
			c.Webhooks[0].FailurePolicy = ptr.To(admissionv1.Ignore)
		})
		gomega.Eventually(ctx, try(ctx, configMap(namespace, "any", nil))).WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.webhook.mutating",
		Promise: "Mutating webhooks change objects before validating ones see them, and a match condition spares what it excludes.",
		Source:  source, Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		authority := secureServer(ctx, s, namespace, nil)
		rules, selector := configMapsOf(namespace)
		register(ctx, &admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: namespace},
			Webhooks: []admissionv1.MutatingWebhook{{
				Name: "painter.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionv1.SideEffectClassNone),
				ClientConfig: admissionv1.WebhookClientConfig{CABundle: authority, Service: &admissionv1.ServiceReference{
					Namespace: namespace, Name: "secure", Path: ptr.To("/admit/label/colour/green"),
				}},
				Rules: rules, NamespaceSelector: selector,
				MatchConditions: []admissionv1.MatchCondition{{Name: "not-plain", Expression: "object.metadata.name != 'plain'"}},
			}},
		})
		painted := func(name string) func() (map[string]string, error) {
			return func() (map[string]string, error) {
				object := configMap(namespace, name, nil)
				err := s.Client.Create(ctx, object, client.DryRunAll)
				return object.Labels, err
			}
		}
		gomega.Eventually(ctx, painted("any")).WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.HaveKeyWithValue("colour", "green"))
		gomega.Expect(painted("plain")()).To(gomega.BeEmpty())
		judge := validating(namespace, authority, "/admit/deny")
		judge.Webhooks[0].MatchConditions = []admissionv1.MatchCondition{{Name: "green", Expression: "object.metadata.?labels.colour.orValue('') == 'green'"}}
		register(ctx, judge)
		gomega.Eventually(ctx, try(ctx, configMap(namespace, "any", nil))).WithTimeout(expect.Scaled(expect.Medium)).
			Should(gomega.MatchError(gomega.ContainSubstring("the agent refuses")))
		gomega.Expect(try(ctx, configMap(namespace, "plain", nil))()).To(gomega.Succeed())
	})
}

// warnings are what the API server says beside its answers.
type warnings chan string

func (w warnings) HandleWarningHeader(_ int, _ string, text string) {
	select {
	case w <- text:
	default: // nobody listens any more
	}
}
