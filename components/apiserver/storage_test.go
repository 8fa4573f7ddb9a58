package apiserver

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	resourcev1 "k8s.io/api/resource/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources"
)

func testLayout(t *testing.T) (*etcdLayout, *runtime.Scheme) {
	t.Helper()
	entries := resources.All()
	scheme, err := resource.NewScheme(entries)
	if err != nil {
		t.Fatal(err)
	}
	return newEtcdLayout(protobufStorage(), serializer.NewCodecFactory(scheme), entries), scheme
}

// TestStorageVersionsAreUpstreams compares with what upstream's v1.37.2 tells by the hashes
// in its discovery: each resource that it keeps, and the version it is stored under.
func TestStorageVersionsAreUpstreams(t *testing.T) {
	recorded, err := os.ReadFile("testdata/storage-versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	layout, _ := testLayout(t)
	compared := 0
	for line := range strings.Lines(string(recorded)) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		gr := schema.ParseGroupResource(name)
		switch gr.Group {
		case "apiextensions.k8s.io", "apiregistration.k8s.io":
			continue // kept by libraries of upstream's
		case "events.k8s.io":
			gr.Group = "" // the same events by another name
		}
		if ours := layout.versions[gr]; ours.String() != version {
			t.Errorf("%s is stored as %q, by upstream as %q", name, ours, version)
		}
		compared++
	}
	if compared < 60 {
		t.Errorf("only %d resources are recorded", compared)
	}
}

// encoded is an object as etcd would hold it.
func encoded(t *testing.T, codec runtime.Codec, object runtime.Object) []byte {
	t.Helper()
	var data bytes.Buffer
	if err := codec.Encode(object, &data); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func TestWhatIsStoredUnderAnOlderVersionComesBack(t *testing.T) {
	layout, scheme := testLayout(t)
	meta := metav1.ObjectMeta{Name: "one", Labels: map[string]string{"a": "b"}}
	for gr, object := range map[schema.GroupResource]runtime.Object{
		{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}: &certificatesv1.ClusterTrustBundle{
			ObjectMeta: meta, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: "example.org/signer", TrustBundle: "anchors"},
		},
		{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}: &certificatesv1.PodCertificateRequest{
			ObjectMeta: meta, Spec: certificatesv1.PodCertificateRequestSpec{PodName: "p", NodeName: "n", MaxExpirationSeconds: ptr.To[int32](3600), UnverifiedUserAnnotations: map[string]string{"c": "d"}},
			Status: certificatesv1.PodCertificateRequestStatus{NotAfter: ptr.To(metav1.Unix(1000, 0)), Conditions: []metav1.Condition{{Type: "Issued"}}},
		},
		{Group: "resource.k8s.io", Resource: "devicetaintrules"}: &resourcev1.DeviceTaintRule{
			ObjectMeta: meta, Spec: resourcev1.DeviceTaintRuleSpec{
				DeviceSelector: &resourcev1.DeviceTaintSelector{Driver: ptr.To("driver")},
				Taint:          resourcev1.DeviceTaint{Key: "k", Effect: resourcev1.DeviceTaintEffectNoExecute, TimeAdded: ptr.To(metav1.Unix(2000, 0))},
			},
		},
		{Group: "storagemigration.k8s.io", Resource: "storageversionmigrations"}: &storagemigrationv1.StorageVersionMigration{
			ObjectMeta: meta, Spec: storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: "apps", Resource: "deployments"}},
		},
	} {
		options, err := layout.GetRESTOptions(gr, nil)
		if err != nil {
			t.Fatal(err)
		}
		codec := options.StorageConfig.Codec
		data := encoded(t, codec, object)
		var unknown runtime.Unknown
		if err := unknown.Unmarshal(data[4:]); err != nil { // after upstream's mark of protobuf
			t.Fatalf("%s: %v", gr, err)
		}
		if unknown.APIVersion != layout.versions[gr].String() {
			t.Errorf("%s is written as %s, not %s", gr, unknown.APIVersion, layout.versions[gr])
		}
		// What an earlier version of ours wrote is read as well.
		hub, err := scheme.ConvertToVersion(object, schema.GroupVersion{Group: gr.Group, Version: "v1"})
		if err != nil {
			t.Fatal(err)
		}
		older := encoded(t, serializer.NewCodecFactory(scheme).LegacyCodec(schema.GroupVersion{Group: gr.Group, Version: "v1"}), hub)
		for _, stored := range [][]byte{data, older} {
			back, err := runtime.Decode(codec, stored)
			if err != nil {
				t.Errorf("%s: %v", gr, err)
				continue
			}
			back.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
			if !reflect.DeepEqual(back, object) {
				t.Errorf("%s came back as\n%+v\nand not\n%+v", gr, back, object)
			}
		}
	}
}

func TestWhatUpstreamStoredIsCompletedAsItIsRead(t *testing.T) {
	layout, scheme := testLayout(t)
	gr := schema.GroupResource{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}
	options, err := layout.GetRESTOptions(gr, nil)
	if err != nil {
		t.Fatal(err)
	}
	beta := certificatesv1beta1.SchemeGroupVersion
	stored := encoded(t, serializer.NewCodecFactory(scheme).LegacyCodec(beta), &certificatesv1beta1.PodCertificateRequest{
		Spec: certificatesv1beta1.PodCertificateRequestSpec{PodName: "p", PKIXPublicKey: []byte("only there")},
	})
	back, err := runtime.Decode(options.StorageConfig.Codec, stored)
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := back.(*certificatesv1.PodCertificateRequest); !ok || r.Spec.PodName != "p" || ptr.Deref(r.Spec.MaxExpirationSeconds, 0) != 86400 {
		t.Errorf("read as %#v", back)
	}
}
