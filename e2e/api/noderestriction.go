package api

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// kubelet speaks as a node's kubelet does.
func kubelet(s *suite.Suite, node string) kubernetes.Interface {
	ginkgo.GinkgoHelper()
	config := rest.CopyConfig(s.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"}}
	client, err := kubernetes.NewForConfig(config)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return client
}

// beForbidden also asks for a part of the reason.
func beForbidden(why string) gomegatypes.GomegaMatcher {
	return gomega.And(gomega.Satisfy(apierrors.IsForbidden), gomega.MatchError(gomega.ContainSubstring(why)))
}

func nodeRestrictionSpecs(s *suite.Suite) {
	const source = admission + "node/"
	behaviour.It(behaviour.Behaviour{
		ID:      "api.node-restriction.nodes",
		Promise: "A kubelet changes its own Node alone, neither its taints nor the labels by which nodes are kept apart.",
		Source:  admission + "admission-controllers/#noderestriction", Judges: judged(),
	}, func(ctx context.Context) {
		names := s.Nodes(ctx, 2)
		nodes := kubelet(s, names[0]).CoreV1().Nodes()
		patch := func(node, change string) error {
			_, err := nodes.Patch(ctx, node, types.MergePatchType, []byte(change), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
		gomega.Expect(patch(names[0], `{"metadata":{"labels":{"example.com/rack":"7"}}}`)).To(gomega.Succeed())
		gomega.Expect(patch(names[0], `{"metadata":{"labels":{"node-restriction.kubernetes.io/tier":"gold"}}}`)).
			To(beForbidden("is not allowed to modify labels: node-restriction.kubernetes.io/tier"))
		gomega.Expect(patch(names[0], `{"spec":{"taints":[{"key":"mine","effect":"NoSchedule"}]}}`)).To(beForbidden("is not allowed to modify taints"))
		gomega.Expect(patch(names[1], `{"metadata":{"labels":{"example.com/rack":"7"}}}`)).To(beForbidden(names[1]))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.node-restriction.pods",
		Promise: "A kubelet creates mirror pods only, and reports of, evicts and deletes only pods that are bound to its node.",
		Source:  admission + "admission-controllers/#noderestriction", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, names := s.Namespace(ctx), s.Nodes(ctx, 2)
		pod := suite.OnNode(suite.Pod(namespace, "bound", suite.AgentContainer("pause")), names[0])
		s.Create(ctx, pod)
		dry := []string{metav1.DryRunAll}
		pods := func(node string) interface {
			Create(ctx context.Context, pod *corev1.Pod, o metav1.CreateOptions) (*corev1.Pod, error)
			Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
			Patch(ctx context.Context, name string, kind types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.Pod, error)
		} {
			return kubelet(s, node).CoreV1().Pods(namespace)
		}
		_, err := pods(names[0]).Create(ctx, suite.OnNode(suite.Pod(namespace, "free", suite.AgentContainer("pause")), names[0]), metav1.CreateOptions{DryRun: dry})
		gomega.Expect(err).To(beForbidden("can only create mirror pods"))
		report := func(node string) error {
			_, err := pods(node).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(`{"status":{"message":"seen"}}`), metav1.PatchOptions{DryRun: dry}, "status")
			return err
		}
		gomega.Expect(report(names[0])).To(gomega.Succeed())
		gomega.Expect(report(names[1])).To(beForbidden("can only update pod status for pods with spec.nodeName set to itself"))
		gomega.Expect(pods(names[1]).Delete(ctx, pod.Name, metav1.DeleteOptions{DryRun: dry})).
			To(beForbidden("can only delete pods with spec.nodeName set to itself"))
		gomega.Expect(pods(names[0]).Delete(ctx, pod.Name, metav1.DeleteOptions{DryRun: dry})).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.node-authorizer.secrets",
		Promise: "A kubelet reads a secret while a pod bound to its node refers to it, and no longer.",
		Source:  source, Judges: judged(),
	}, func(ctx context.Context) {
		namespace, names := s.Namespace(ctx), s.Nodes(ctx, 2)
		s.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "key"}, StringData: map[string]string{"word": "sesame"}})
		read := func(node string) error {
			_, err := kubelet(s, node).CoreV1().Secrets(namespace).Get(ctx, "key", metav1.GetOptions{})
			return err
		}
		gomega.Expect(read(names[0])).To(beForbidden("no relationship found between node '" + names[0] + "' and this object"))
		pod := suite.OnNode(suite.Pod(namespace, "reader", suite.AgentContainer("pause")), names[0])
		pod.Spec.Volumes = []corev1.Volume{{Name: "key", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key"}}}}
		s.Create(ctx, pod)
		// The authorizer learns of pods by a watch of its own.
		gomega.Eventually(ctx, func() error { return read(names[0]) }).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Succeed())
		gomega.Expect(read(names[1])).To(beForbidden("no relationship found"))
		_, err := kubelet(s, names[0]).CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
		gomega.Expect(err).To(gomega.Satisfy(apierrors.IsForbidden), "a list is of more than one secret")
		s.Delete(ctx, pod, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, pod)).To(gomega.Succeed())
		gomega.Eventually(ctx, func() error { return read(names[0]) }).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Satisfy(apierrors.IsForbidden))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.node-restriction.tokens",
		Promise: "A kubelet gets tokens for the service accounts of its pods alone, each bound to such a pod.",
		Source:  admission + "admission-controllers/#noderestriction", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, names := s.Namespace(ctx), s.Nodes(ctx, 2)
		pod := suite.OnNode(suite.Pod(namespace, "bound", suite.AgentContainer("pause")), names[0])
		s.CreateReady(ctx, pod)
		token := func(node string, bound *authenticationv1.BoundObjectReference) error {
			_, err := kubelet(s, node).CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default", &authenticationv1.TokenRequest{
				Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](600), BoundObjectRef: bound},
			}, metav1.CreateOptions{})
			return err
		}
		mine := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
		gomega.Expect(token(names[0], mine)).To(gomega.Succeed())
		gomega.Expect(token(names[0], nil)).To(beForbidden("node requested token not bound to a pod"))
		gomega.Expect(token(names[1], mine)).To(gomega.Satisfy(apierrors.IsForbidden))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.node-restriction.leases",
		Promise: "A kubelet renews the lease of its own node alone.",
		Source:  admission + "admission-controllers/#noderestriction", Judges: judged(),
	}, func(ctx context.Context) {
		names := s.Nodes(ctx, 2)
		renew := func(node string) error {
			_, err := kubelet(s, names[0]).CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, node, types.MergePatchType,
				[]byte(`{"spec":{"leaseDurationSeconds":41}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
		gomega.Expect(renew(names[0])).To(gomega.Succeed())
		gomega.Expect(renew(names[1])).To(beForbidden("can only access node lease with the same name as the requesting node"))
	})
}
