package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

const (
	legacySigner    = "kubernetes.io/legacy-unknown"
	shortestSeconds = 600
)

// requestRules say what an endpoint may change, and what is forgiven in a request
// because it is stored like that.
type requestRules struct {
	mayDecide, mayIssue bool

	anyUsage, repeatedUsages          bool
	legacySigner                      bool
	emptyCondition, repeatedCondition bool
	approvedAndDenied                 bool
	anyCertificate                    bool
}

func rulesFor(r, old *certificatesv1.CertificateSigningRequest) requestRules {
	var kinds []certificatesv1.RequestConditionType
	for _, c := range old.Status.Conditions {
		kinds = append(kinds, c.Type)
	}
	return requestRules{
		anyUsage: slices.ContainsFunc(old.Spec.Usages, func(u certificatesv1.KeyUsage) bool {
			return !slices.Contains(knownUsages(), u)
		}),
		repeatedUsages:    repeats(old.Spec.Usages),
		legacySigner:      old.Spec.SignerName == legacySigner,
		emptyCondition:    slices.Contains(kinds, ""),
		repeatedCondition: repeats(kinds),
		approvedAndDenied: slices.Contains(kinds, certificatesv1.CertificateApproved) && slices.Contains(kinds, certificatesv1.CertificateDenied),
		anyCertificate:    bytes.Equal(r.Status.Certificate, old.Status.Certificate) || checkChain(old.Status.Certificate) != nil,
	}
}

func repeats[T comparable](items []T) bool {
	for i, item := range items {
		if slices.Contains(items[:i], item) {
			return true
		}
	}
	return false
}

func knownUsages() []certificatesv1.KeyUsage {
	usages := []certificatesv1.KeyUsage{
		certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
		certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment,
		certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
		certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning,
		certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageSMIME, certificatesv1.UsageTimestamping,
	}
	slices.Sort(usages)
	return usages
}

func (rules requestRules) validate(r *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	if err := checkRequest(r.Spec.Request); err != nil {
		found.Invalid(at.Child("request"), r.Spec.Request, err.Error())
	}
	usages := at.Child("usages")
	if len(r.Spec.Usages) == 0 {
		found.Required(usages, "")
	}
	for i, usage := range r.Spec.Usages {
		if !rules.anyUsage {
			problem.OneOf(&found, usages.Index(i), usage, knownUsages()...)
		}
		if !rules.repeatedUsages && slices.Contains(r.Spec.Usages[:i], usage) {
			found.Duplicate(usages.Index(i), usage)
		}
	}
	if r.Spec.SignerName == legacySigner && !rules.legacySigner {
		found.Invalid(at.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		found.Add(volume.ValidateSignerName(r.Spec.SignerName, at.Child("signerName"))...)
	}
	if seconds := r.Spec.ExpirationSeconds; seconds != nil && *seconds < shortestSeconds {
		found.Invalid(at.Child("expirationSeconds"), *seconds, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	found.Add(rules.validateConditions(r.Status.Conditions, field.NewPath("status", "conditions"))...)
	if !rules.anyCertificate {
		if err := checkChain(r.Status.Certificate); err != nil {
			found.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error())
		}
	}
	return found.Errors
}

func (rules requestRules) validateConditions(conditions []certificatesv1.CertificateSigningRequestCondition, path *field.Path) field.ErrorList {
	var found problem.List
	var seen []certificatesv1.RequestConditionType
	for i, c := range conditions {
		at := path.Index(i)
		if c.Type == "" && !rules.emptyCondition {
			found.Required(at.Child("type"), "")
		}
		allowed := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		var opposite certificatesv1.RequestConditionType
		switch c.Type {
		case certificatesv1.CertificateApproved:
			allowed, opposite = allowed[1:2], certificatesv1.CertificateDenied
		case certificatesv1.CertificateDenied:
			allowed, opposite = allowed[1:2], certificatesv1.CertificateApproved
		case certificatesv1.CertificateFailed:
			allowed = allowed[1:2]
		}
		if c.Status == "" {
			found.Required(at.Child("status"), "")
		} else {
			problem.OneOf(&found, at.Child("status"), c.Status, allowed...)
		}
		if opposite != "" && !rules.approvedAndDenied && slices.Contains(seen, opposite) {
			found.Invalid(path, c.Type, "Approved and Denied conditions are mutually exclusive")
		}
		if !rules.repeatedCondition && slices.Contains(seen, c.Type) {
			found.Duplicate(at.Child("type"), c.Type)
		}
		seen = append(seen, c.Type)
	}
	return found.Errors
}

func (rules requestRules) validateUpdate(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	found := problem.List{Errors: rules.validate(r)}
	conditions, certificate := field.NewPath("status", "conditions"), field.NewPath("status", "certificate")
	for _, kind := range []certificatesv1.RequestConditionType{
		certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed,
	} {
		now, was := conditionsOf(r, kind), conditionsOf(old, kind)
		decision := kind != certificatesv1.CertificateFailed && !rules.mayDecide
		switch {
		case len(now) < len(was):
			found.Forbidden(conditions, fmt.Sprintf("updates may not remove a condition of type %q", kind))
		case decision && len(now) > len(was):
			found.Forbidden(conditions, fmt.Sprintf("updates may not add a condition of type %q", kind))
		case decision && !apiequality.Semantic.DeepEqual(now, was):
			found.Forbidden(conditions, fmt.Sprintf("updates may not modify a condition of type %q\n%v", kind, diff.Diff(was, now)))
		}
	}
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		return found.Errors
	}
	if !rules.mayIssue {
		found.Forbidden(certificate, "updates may not set certificate content")
	} else if len(old.Status.Certificate) > 0 {
		found.Forbidden(certificate, "updates may not modify existing certificate content")
	}
	return found.Errors
}

// checkRequest reads a request and verifies that who made it has the key.
func checkRequest(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

// checkChain reads what a signer issued: certificates and nothing else.
func checkChain(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	count := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		count++
		if block.Type != certificateBlock {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) > 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certificates, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certificates) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
	}
	if count == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

const certificateBlock = "CERTIFICATE"
