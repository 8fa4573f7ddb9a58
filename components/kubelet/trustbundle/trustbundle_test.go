package trustbundle

import (
	"bytes"
	"context"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

func block(text string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}))
}

func bundle(name, signer string, labels map[string]string, anchors ...string) *certificatesv1.ClusterTrustBundle {
	b := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	b.Spec.SignerName = signer
	for _, a := range anchors {
		b.Spec.TrustBundle += "said in between\n" + block(a)
	}
	return b
}

func TestAnchors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	live := map[string]string{"live": "yes"}
	client := fake.NewClientset(
		bundle("plain", "", nil, "p"),
		bundle("s:1", "test/s", live, "a", "b"), bundle("s:2", "test/s", nil, "b", "c"), bundle("o:1", "test/other", live, "d"),
	)
	changed := make(chan types.UID, 10)
	bundles := New(ctx, client, func(uid types.UID) { changed <- uid })
	tests := []struct {
		name       string
		projection v1.ClusterTrustBundleProjection
		want       []string
		err        string
	}{
		{"by name", v1.ClusterTrustBundleProjection{Name: ptr.To("plain")}, []string{"p"}, ""},
		{"no such name", v1.ClusterTrustBundleProjection{Name: ptr.To("none")}, nil, `clustertrustbundle.certificates.k8s.io "none" not found`},
		{"no such name, optional", v1.ClusterTrustBundleProjection{Name: ptr.To("none"), Optional: ptr.To(true)}, nil, ""},
		{"all of a signer", v1.ClusterTrustBundleProjection{SignerName: ptr.To("test/s"), LabelSelector: &metav1.LabelSelector{}}, []string{"a", "b", "c"}, ""},
		{"by label", v1.ClusterTrustBundleProjection{SignerName: ptr.To("test/s"), LabelSelector: &metav1.LabelSelector{MatchLabels: live}}, []string{"a", "b"}, ""},
		{"no selector", v1.ClusterTrustBundleProjection{SignerName: ptr.To("test/s")}, nil, "matched zero ClusterTrustBundles"},
		{"no selector, optional", v1.ClusterTrustBundleProjection{SignerName: ptr.To("test/s"), Optional: ptr.To(true)}, nil, ""},
		{"neither", v1.ClusterTrustBundleProjection{}, nil, "requires either name or signerName"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := bundles.Anchors(ctx, "pod", &test.projection)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(got, []byte("BEGIN CERTIFICATE")); n != len(test.want) {
				t.Errorf("%d certificates, want %d", n, len(test.want))
			}
			for _, want := range test.want {
				if !bytes.Contains(got, []byte(block(want))) {
					t.Errorf("%q is missing", want)
				}
			}
			if strings.Contains(string(got), "said") {
				t.Error("what stands between certificates was handed on")
			}
			if again, _ := bundles.Anchors(ctx, "pod", &test.projection); !bytes.Equal(got, again) {
				t.Error("the order changes from one time to the next")
			}
		})
	}
	if _, err := client.CertificatesV1().ClusterTrustBundles().Create(ctx, bundle("new", "", nil, "n"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case uid := <-changed:
		if uid != "pod" {
			t.Errorf("told %s of a change, want pod", uid)
		}
	case <-ctx.Done():
		t.Error("nobody was told of a new bundle")
	}
}
