package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/ptr"
)

func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func request(t *testing.T) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
	}}
}

func condition(kind certificatesv1.RequestConditionType) certificatesv1.CertificateSigningRequestCondition {
	return certificatesv1.CertificateSigningRequestCondition{Type: kind, Status: corev1.ConditionTrue}
}

func TestRequests(t *testing.T) {
	definition := CertificateSigningRequests()
	r := request(t)
	r.Spec.Username, r.Status.Conditions = "root", []certificatesv1.CertificateSigningRequestCondition{condition("Approved")}
	who := &user.DefaultInfo{Name: "jane", Groups: []string{"staff"}, Extra: map[string][]string{"scope": {"a"}}}
	definition.PrepareForCreate(genericrequest.WithUser(t.Context(), who), r)
	if r.Spec.Username != "jane" || !slices.Equal(r.Spec.Groups, []string{"staff"}) || !slices.Equal(r.Spec.Extra["scope"], []string{"a"}) {
		t.Errorf("the requester is %+v", r.Spec)
	}
	if len(r.Status.Conditions) > 0 {
		t.Errorf("a new request is decided: %v", r.Status.Conditions)
	}
	expect(t, definition.Validate(t.Context(), r))

	bad := r.DeepCopy()
	bad.Spec.SignerName, bad.Spec.ExpirationSeconds = legacySigner, ptr.To[int32](599)
	bad.Spec.Usages = append(bad.Spec.Usages, certificatesv1.UsageClientAuth)
	expect(t, definition.Validate(t.Context(), bad),
		`spec.usages[1]: Duplicate value: "client auth"`,
		`spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version`,
		`spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)`)
}

func TestDecisions(t *testing.T) {
	old := request(t)
	decided := old.DeepCopy()
	decided.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{condition("Approved")}
	rules := rulesFor(decided, old)
	if errs := rules.validateUpdate(decided, old); len(errs) != 1 || errs[0].Field != "status.conditions" {
		t.Errorf("approved by who may not: %v", errs)
	}
	rules.mayDecide = true
	expect(t, rules.validateUpdate(decided, old))

	both := decided.DeepCopy()
	both.Status.Conditions = append(both.Status.Conditions, condition("Denied"))
	expect(t, rules.validateUpdate(both, old),
		`status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive`)
	if errs := rulesFor(old, decided).validateUpdate(old, decided); len(errs) != 1 {
		t.Errorf("an approval was taken back: %v", errs)
	}
}

func TestStatusEndpointKeepsDecision(t *testing.T) {
	old := request(t)
	old.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{condition("Approved")}
	r := old.DeepCopy()
	r.Status.Conditions[0].Reason = "forged"
	CertificateSigningRequests().PrepareForStatusUpdate(t.Context(), r, old)
	if got := r.Status.Conditions[0].Reason; got != "" {
		t.Errorf("the status endpoint changed the approval's reason to %q", got)
	}
}
