package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const projected = concepts + "storage/projected-volumes/"

// authority signs certificates.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pem         string
}

func newAuthority(name string) *authority {
	ginkgo.GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	certificate, err := x509.ParseCertificate(der)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return &authority{key, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue answers a pod's request with a certificate of the longest life it allows.
func (a *authority) issue(ctx context.Context, s *suite.Suite, request *certificatesv1.PodCertificateRequest) {
	ginkgo.GinkgoHelper()
	stub, err := x509.ParseCertificateRequest(request.Spec.StubPKCS10Request)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	begin := time.Now().Truncate(time.Second)
	end := begin.Add(time.Duration(*request.Spec.MaxExpirationSeconds) * time.Second)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: request.Spec.PodName}, NotBefore: begin, NotAfter: end,
	}, a.certificate, stub.PublicKey, a.key)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	request.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions: []metav1.Condition{{
			Type: certificatesv1.PodCertificateRequestConditionTypeIssued, Status: metav1.ConditionTrue,
			Reason: "Issued", LastTransitionTime: metav1.Now(),
		}},
		CertificateChain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		NotBefore:        ptr.To(metav1.NewTime(begin)), NotAfter: ptr.To(metav1.NewTime(end)),
		BeginRefreshAt: ptr.To(metav1.NewTime(end.Add(-15 * time.Minute))),
	}
	gomega.Expect(s.Client.Status().Update(ctx, request)).To(gomega.Succeed())
}

func trustSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.projected.trust-bundle",
		Promise: "A projected clusterTrustBundle holds the certificates of the bundles of a signer that a selector matches, each once, and follows them.",
		Source:  projected + "#clustertrustbundle", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		signer := "plumbline.dev/" + namespace
		one, two := newAuthority("one"), newAuthority("two")
		bundle := func(name, anchors string) *certificatesv1.ClusterTrustBundle {
			b := &certificatesv1.ClusterTrustBundle{
				ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(signer, "/", ":") + ":" + name, Labels: map[string]string{"chosen": name}},
				Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: anchors},
			}
			s.Create(ctx, b)
			ginkgo.DeferCleanup(func(ctx context.Context) { s.Delete(ctx, b, metav1.DeletePropagationBackground) })
			return b
		}
		first := bundle("a", one.pem+two.pem)
		bundle("b", two.pem)
		source := func(selector *metav1.LabelSelector, path string) corev1.VolumeProjection {
			return corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: selector, Path: path}}
		}
		pod := suite.Pod(namespace, "trusting", suite.AgentContainer("pause"))
		mount(pod, "trust", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			source(&metav1.LabelSelector{}, "all.pem"), source(&metav1.LabelSelector{MatchLabels: map[string]string{"chosen": "b"}}, "some.pem"),
		}}})
		s.CreateReady(ctx, pod)
		all, err := s.Exec(ctx, pod, "/agent", "cat", "/trust/all.pem")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(all).To(gomega.SatisfyAny(gomega.Equal(one.pem+two.pem), gomega.Equal(two.pem+one.pem)))
		gomega.Expect(s.Exec(ctx, pod, "/agent", "cat", "/trust/some.pem")).To(gomega.Equal(two.pem))

		suite.Patch(ctx, s, first, func(b *certificatesv1.ClusterTrustBundle) { b.Spec.TrustBundle = two.pem })
		gomega.Eventually(ctx, func() string { text, _ := s.Exec(ctx, pod, "/agent", "cat", "/trust/all.pem"); return text }).
			WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Equal(two.pem))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.projected.pod-certificate",
		Promise: "For a projected podCertificate the kubelet makes a key and a PodCertificateRequest in the pod's name; once a signer has answered, the pod starts with the key and the certificate.",
		Source:  projected + "#podcertificate", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		pod := suite.Pod(namespace, "certified", suite.AgentContainer("pause"))
		mount(pod, "own", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
			PodCertificate: &corev1.PodCertificateProjection{
				SignerName: "plumbline.dev/" + namespace, KeyType: "ECDSAP256", MaxExpirationSeconds: ptr.To[int32](3600),
				UserAnnotations: map[string]string{"plumbline.dev/why": "because"}, CredentialBundlePath: "bundle.pem",
			},
		}}}})
		s.Create(ctx, pod)
		list := &certificatesv1.PodCertificateRequestList{}
		gomega.Expect(s.Watch.UntilList(ctx, list, expect.Satisfy("hold one request", func(l *certificatesv1.PodCertificateRequestList) string {
			if len(l.Items) == 0 {
				return "there is none"
			}
			return ""
		}), inNamespace(pod))).To(gomega.Succeed())
		request := &list.Items[0]
		gomega.Expect(request.Spec.PodUID).To(gomega.Equal(pod.UID))
		gomega.Expect(request.Spec.ServiceAccountName).To(gomega.Equal("default"))
		gomega.Expect(request.Spec.UnverifiedUserAnnotations).To(gomega.HaveKeyWithValue("plumbline.dev/why", "because"))
		newAuthority("signer").issue(ctx, s, request)

		gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
		text, err := s.Exec(ctx, pod, "/agent", "cat", "/own/bundle.pem")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		block, chain := pem.Decode([]byte(text))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(string(chain)).To(gomega.Equal(request.Status.CertificateChain))
		leaf, _ := pem.Decode(chain)
		certificate, err := x509.ParseCertificate(leaf.Bytes)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(key.(*ecdsa.PrivateKey).PublicKey.Equal(certificate.PublicKey)).To(gomega.BeTrue(), "the certificate is for the key")
	})
}
