package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// The bounds of a pod's request, in seconds and bytes.
const (
	defaultMaxExpiration  = 24 * 60 * 60
	leastMaxExpiration    = 60 * 60
	mostMaxExpiration     = 91 * 24 * 60 * 60
	mostOwnMaxExpiration  = 24 * 60 * 60
	longestStubRequest    = 10 * 1024
	longestChain          = 100 * 1024
	longestUID            = 128
	leastLifetime         = time.Hour
	refreshMargin         = 10 * time.Minute
	allowedSkew           = 5 * time.Minute
	kubernetesSignersHost = "kubernetes.io"
)

func validatePodRequest(spec *certificatesv1.PodCertificateRequestSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	found.Add(volume.ValidateSignerName(spec.SignerName, at.Child("signerName"))...)
	for key := range spec.UnverifiedUserAnnotations {
		found.Add(validation.IsDomainPrefixedKey(at.Child("unverifiedUserAnnotations"), strings.ToLower(key))...)
	}
	if apivalidation.ValidateAnnotationsSize(spec.UnverifiedUserAnnotations) != nil {
		found.Add(field.TooLong(at.Child("unverifiedUserAnnotations"), "", apivalidation.TotalAnnotationSizeLimitB))
	}
	uid := func(name string, value types.UID) {
		switch n := len(value); {
		case n == 0:
			found.Invalid(at.Child(name), value, "must not be empty")
		case n > longestUID:
			found.Add(field.TooLong(at.Child(name), value, longestUID))
		}
	}
	found.Messages(at.Child("podName"), spec.PodName, validation.IsDNS1123Subdomain(spec.PodName))
	uid("podUID", spec.PodUID)
	found.Messages(at.Child("serviceAccountName"), spec.ServiceAccountName, validation.IsDNS1123Subdomain(spec.ServiceAccountName))
	uid("serviceAccountUID", spec.ServiceAccountUID)
	found.Messages(at.Child("nodeName"), spec.NodeName, validation.IsDNS1123Subdomain(string(spec.NodeName)))
	uid("nodeUID", spec.NodeUID)
	if spec.MaxExpirationSeconds == nil {
		found.Required(at.Child("maxExpirationSeconds"), "must be set")
		return found.Errors
	}
	most := int64(mostMaxExpiration)
	if host, _, _ := strings.Cut(spec.SignerName, "/"); host == kubernetesSignersHost || strings.HasSuffix(host, "."+kubernetesSignersHost) {
		most = mostOwnMaxExpiration
	}
	found.Within(at.Child("maxExpirationSeconds"), int64(*spec.MaxExpirationSeconds), leastMaxExpiration, most,
		fmt.Sprintf("must be in the range [%d, %d]", leastMaxExpiration, most))
	found.Add(validateStub(spec.StubPKCS10Request, at)...)
	return found.Errors
}

// validateStub checks the request that carries the key and the proof that the
// kubelet has it.
func validateStub(data []byte, spec *field.Path) field.ErrorList {
	var found problem.List
	at := spec.Child("stubPKCS10Request")
	if len(data) == 0 {
		found.Required(at, "")
		return found.Errors
	}
	if len(data) > longestStubRequest {
		found.Add(field.TooLong(at, data, longestStubRequest))
		return found.Errors
	}
	request, err := x509.ParseCertificateRequest(data)
	if err != nil {
		found.Invalid(at, field.OmitValueType{}, "must be a valid PKCS#10 CSR")
		return found.Errors
	}
	switch key := request.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			found.Invalid(at, "curve "+key.Curve.Params().Name, "elliptic public keys must use curve P256, P384, or P521")
			return found.Errors
		}
	case *rsa.PublicKey:
		if bits := key.Size() * 8; bits != 3072 && bits != 4096 {
			found.Invalid(at, fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096")
			return found.Errors
		}
	default:
		found.Invalid(at, field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA")
		return found.Errors
	}
	if request.CheckSignature() != nil {
		found.Invalid(at, field.OmitValueType{}, "invalid signature")
	}
	return found.Errors
}

// validatePodIssue lets a request end once, in one of three ways.
func validatePodIssue(r, old *certificatesv1.PodCertificateRequest, now time.Time) field.ErrorList {
	status := field.NewPath("status")
	if errs := validateOutcomes(r.Status.Conditions, status.Child("conditions")); len(errs) > 0 {
		return errs
	}
	unchanged := func(want certificatesv1.PodCertificateRequestStatus, detail string) field.ErrorList {
		if apiequality.Semantic.DeepEqual(r.Status, want) {
			return nil
		}
		return field.ErrorList{field.Invalid(status, field.OmitValueType{}, detail)}
	}
	if outcome(old) != "" {
		return unchanged(old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
	}
	switch outcome(r) {
	case certificatesv1.PodCertificateRequestConditionTypeIssued:
		return validateIssued(r, now)
	case "":
		return unchanged(old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
	}
	return unchanged(certificatesv1.PodCertificateRequestStatus{Conditions: r.Status.Conditions},
		"non-condition status fields must be empty when denying or failing the PodCertificateRequest")
}

func validateOutcomes(conditions []metav1.Condition, path *field.Path) field.ErrorList {
	var found problem.List
	ended := 0
	for i, c := range conditions {
		at := path.Child(fmt.Sprintf("[%d]", i))
		if !isOutcome(c.Type) {
			problem.OneOf(&found, at.Child("type"), c.Type, certificatesv1.PodCertificateRequestConditionTypeIssued,
				certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed)
			continue
		}
		if ended++; ended > 1 {
			found.Invalid(at.Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`)
		}
		problem.OneOf(&found, at.Child("status"), c.Status, metav1.ConditionTrue)
	}
	found.Add(metav1validation.ValidateConditions(conditions, path)...)
	return found.Errors
}

// validateIssued checks that the certificate is what was asked for. It stops at the
// first thing that is wrong, as the rest would only follow from it.
func validateIssued(r *certificatesv1.PodCertificateRequest, now time.Time) field.ErrorList {
	status := field.NewPath("status")
	at, chain := status.Child("certificateChain"), r.Status.CertificateChain
	refuse := func(at *field.Path, value any, detail string) field.ErrorList {
		return field.ErrorList{field.Invalid(at, value, detail)}
	}
	if len(chain) > longestChain {
		return field.ErrorList{field.TooLong(at, chain, longestChain)}
	}
	block, rest := pem.Decode([]byte(chain))
	if block == nil {
		return refuse(at, chain, "issued certificate chain must contain at least one certificate")
	}
	if block.Type != certificateBlock {
		return refuse(at, chain, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return refuse(at, chain, "leaf certificate does not parse as valid X.509")
	}
	if errs := validateNames(leaf, at); len(errs) > 0 {
		return errs
	}
	request, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		return refuse(field.NewPath("spec", "stubPKCS10Request"), field.OmitValueType{}, "must be a valid PKCS#10 CSR")
	}
	key, known := request.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if known && !key.Equal(leaf.PublicKey) {
		return refuse(at, chain, "leaf certificate was not issued to the requested public key")
	}
	if errs := validateTimes(r, leaf, now); len(errs) > 0 {
		return errs
	}
	for block, rest = pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != certificateBlock {
			return refuse(at, chain, "issued certificate chain must consist entirely of CERTFICATE PEM blocks")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return refuse(at, chain, "intermediate certificate does not parse as valid X.509")
		}
	}
	return nil
}

// validateNames refuses names that the standard library reads and clients do not.
func validateNames(leaf *x509.Certificate, at *field.Path) field.ErrorList {
	var found problem.List
	for _, name := range leaf.DNSNames {
		if name == "" {
			found.Invalid(at, name, "leaf certificate should not contain empty DNSName")
		}
		if strings.Contains(name, "..") {
			found.Invalid(at, name, "leaf certificate's DNSName should not contain '..'")
		}
		if strings.Trim(name, ".") != name {
			found.Invalid(at, name, "leaf certificate's DNSName should not start or end with '.'")
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			found.Invalid(at, address, "leaf certificate should not contain invalid EmailAddress")
		}
	}
	return found.Errors
}

func validateTimes(r *certificatesv1.PodCertificateRequest, leaf *x509.Certificate, now time.Time) field.ErrorList {
	status := field.NewPath("status")
	var found problem.List
	required := func(name string, value *metav1.Time, detail string) {
		if value == nil {
			found.Required(status.Child(name), "must be present and "+detail)
		}
	}
	required("notBefore", r.Status.NotBefore, "consistent with the issued certificate")
	required("notAfter", r.Status.NotAfter, "consistent with the issued certificate")
	required("beginRefreshAt", r.Status.BeginRefreshAt, "in the range [notbefore+10min, notafter-10min]")
	if len(found.Errors) > 0 {
		return found.Errors
	}
	begin, end, refresh := r.Status.NotBefore.Time, r.Status.NotAfter.Time, r.Status.BeginRefreshAt.Time
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	most := int64(*r.Spec.MaxExpirationSeconds)
	for _, rule := range []struct {
		broken bool
		name   string
		value  any
		detail string
	}{
		{!begin.Equal(leaf.NotBefore), "notBefore", begin, "must be set to the NotBefore time encoded in the leaf certificate"},
		{begin.Sub(now).Abs() >= allowedSkew, "notBefore", begin, "must be set to within 5 minutes of kube-apiserver's current time"},
		{!end.Equal(leaf.NotAfter), "notAfter", end, "must be set to the NotAfter time encoded in the leaf certificate"},
		{lifetime < leastLifetime, "certificateChain", lifetime, "leaf certificate lifetime must be >= 1 hour"},
		{lifetime > time.Duration(most)*time.Second, "certificateChain", lifetime,
			fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", most)},
		{refresh.Before(begin.Add(refreshMargin)), "beginRefreshAt", refresh, "must be at least 10 minutes after status.notBefore"},
		{refresh.After(end.Add(-refreshMargin)), "beginRefreshAt", refresh, "must be at least 10 minutes before status.notAfter"},
	} {
		if rule.broken {
			return field.ErrorList{field.Invalid(status.Child(rule.name), rule.value, rule.detail)}
		}
	}
	return nil
}
