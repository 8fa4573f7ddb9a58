package matrix

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"

	certificatesv1 "k8s.io/api/certificates/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/framework/pki"
)

// furnishOlder writes an object of each resource that is stored under an older version
// than it is served: what one API server writes the other has to know.
func furnishOlder(ctx context.Context, client kubernetes.Interface, namespace string) error {
	meta := metav1.ObjectMeta{Name: "live-" + namespace, Labels: map[string]string{"app": "live"}}
	within := meta
	within.Namespace = namespace
	create := metav1.CreateOptions{}
	authority, err := pki.NewAuthority("live")
	if err != nil {
		return err
	}
	if _, err := client.CertificatesV1().ClusterTrustBundles().Create(ctx, &certificatesv1.ClusterTrustBundle{
		ObjectMeta: meta, Spec: certificatesv1.ClusterTrustBundleSpec{TrustBundle: string(authority.Cert)},
	}, create); err != nil {
		return err
	}
	request, err := podRequest()
	if err != nil {
		return err
	}
	if _, err := client.CertificatesV1().PodCertificateRequests(namespace).Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: within, Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "example.org/nobody", PodName: "live", PodUID: "1", ServiceAccountName: "default", ServiceAccountUID: "2", NodeName: "node", NodeUID: "3",
			StubPKCS10Request: request, UnverifiedUserAnnotations: map[string]string{"example.org/a": "b"},
		},
	}, create); err != nil {
		return err
	}
	if _, err := client.ResourceV1().DeviceTaintRules().Create(ctx, &resourcev1.DeviceTaintRule{
		ObjectMeta: meta, Spec: resourcev1.DeviceTaintRuleSpec{
			DeviceSelector: &resourcev1.DeviceTaintSelector{Driver: ptr.To("nothing.example.org")},
			Taint:          resourcev1.DeviceTaint{Key: "example.org/live", Value: "yes", Effect: resourcev1.DeviceTaintEffectNoSchedule},
		},
	}, create); err != nil {
		return err
	}
	_, err = client.StoragemigrationV1().StorageVersionMigrations().Create(ctx, &storagemigrationv1.StorageVersionMigration{
		ObjectMeta: meta, Spec: storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Resource: "configmaps"}},
	}, create)
	return err
}

// podRequest is what a kubelet sends in a pod's name: a request that says nothing but
// whose key it is.
func podRequest() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}
