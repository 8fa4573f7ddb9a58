// Package certificates decides who may approve and sign certificate requests, and which requests are
// never granted.
// See https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/.
package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Names of the plugins.
const (
	ApprovalName = "CertificateApproval"
	SigningName  = "CertificateSigning"
	SubjectName  = "CertificateSubjectRestriction"
	AttestName   = "ClusterTrustBundleAttest"
)

// Plugin implements admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	resource string
	validate func(ctx context.Context, a admission.Attributes) error
}

var _ admission.ValidationInterface = &Plugin{}

const requests = "certificatesigningrequests"

// Validate judges requests for the plugin's resource.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != certificatesv1.Resource(p.resource) {
		return nil
	}
	return p.validate(ctx, a)
}

// NewApproval lets those approve who may "approve" for the signer.
func NewApproval(by authorizer.Authorizer) *Plugin {
	return &Plugin{resource: requests, Handler: admission.NewHandler(admission.Update), validate: func(ctx context.Context, a admission.Attributes) error {
		request, ok := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
		if !ok || a.GetSubresource() != "approval" {
			return nil
		}
		if !may(ctx, by, a.GetUserInfo(), "approve", request.Spec.SignerName) {
			return admission.NewForbidden(a, fmt.Errorf("user not permitted to approve requests with signerName %q", request.Spec.SignerName))
		}
		return nil
	}}
}

// NewSigning lets those write certificates who may "sign" for the signer.
func NewSigning(by authorizer.Authorizer) *Plugin {
	return &Plugin{resource: requests, Handler: admission.NewHandler(admission.Update), validate: func(ctx context.Context, a admission.Attributes) error {
		old, ok := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
		request, also := a.GetObject().(*certificatesv1.CertificateSigningRequest)
		if !ok || !also || a.GetSubresource() != "status" {
			return nil
		}
		// Failing a request is a signer's business too.
		if slices.Equal(old.Status.Certificate, request.Status.Certificate) && apiequality.Semantic.DeepEqual(failures(old), failures(request)) {
			return nil
		}
		if !may(ctx, by, a.GetUserInfo(), "sign", old.Spec.SignerName) {
			return admission.NewForbidden(a, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
		}
		return nil
	}}
}

func failures(r *certificatesv1.CertificateSigningRequest) []certificatesv1.CertificateSigningRequestCondition {
	return slices.DeleteFunc(slices.Clone(r.Status.Conditions), func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type != certificatesv1.CertificateFailed
	})
}

// may asks for the right on the signer itself and on its whole domain.
func may(ctx context.Context, by authorizer.Authorizer, who user.Info, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := by.Authorize(ctx, authorizer.AttributesRecord{
			User: who, Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true,
		})
		if err == nil && decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

// NewSubject refuses client certificates for system:masters: they could never be revoked.
func NewSubject() *Plugin {
	return &Plugin{resource: requests, Handler: admission.NewHandler(admission.Create), validate: func(_ context.Context, a admission.Attributes) error {
		request, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
		if !ok || a.GetSubresource() != "" || request.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		asked, err := parse(request.Spec.Request)
		if err != nil {
			return admission.NewForbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
		}
		if slices.Contains(asked.Subject.Organization, user.SystemPrivilegedGroup) {
			return admission.NewForbidden(a, fmt.Errorf("use of %s signer with %s group is not allowed", request.Spec.SignerName, user.SystemPrivilegedGroup))
		}
		return nil
	}}
}

// NewAttest lets those write a signer's trust bundles who may "attest" for the signer.
func NewAttest(by authorizer.Authorizer) *Plugin {
	handler := admission.NewHandler(admission.Create, admission.Update)
	return &Plugin{resource: "clustertrustbundles", Handler: handler, validate: func(ctx context.Context, a admission.Attributes) error {
		bundle, ok := a.GetObject().(*certificatesv1.ClusterTrustBundle)
		if !ok || bundle.Spec.SignerName == "" {
			return nil
		}
		// What changes only who owns it, or nothing, is no statement about whom to trust.
		if old, ok := a.GetOldObject().(*certificatesv1.ClusterTrustBundle); ok && a.GetOperation() == admission.Update {
			same := bundle.DeepCopy()
			same.OwnerReferences, same.Finalizers, same.ManagedFields = old.OwnerReferences, old.Finalizers, old.ManagedFields
			if apiequality.Semantic.DeepEqual(same, old) {
				return nil
			}
		}
		if !may(ctx, by, a.GetUserInfo(), "attest", bundle.Spec.SignerName) {
			return admission.NewForbidden(a, fmt.Errorf("user not permitted to attest for signerName %q", bundle.Spec.SignerName))
		}
		return nil
	}}
}

func parse(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
