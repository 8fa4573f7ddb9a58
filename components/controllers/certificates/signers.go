package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

const (
	nodePrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// parse reads a PEM certificate request.
func parse(request []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// check tells what keeps one of Kubernetes' own signers from signing the request, nil if nothing does.
// https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
func check(signer string, request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch signer {
	case certificatesv1.KubeletServingSignerName:
		return checkKubeletServing(request, usages)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return checkKubeletClient(request, usages)
	case certificatesv1.KubeAPIServerClientSignerName:
		if !allowed(usages, []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment) {
			return fmt.Errorf("usages %v must include client auth and nothing but digital signature and key encipherment besides", usages)
		}
		return nil
	case legacySigner:
		return nil
	}
	return fmt.Errorf("unrecognized signerName: %q", signer)
}

// legacySigner signs whatever was approved.
const legacySigner = "kubernetes.io/legacy-unknown"

// allowed tells whether usages has all of required and nothing besides but optional.
func allowed(usages, required []certificatesv1.KeyUsage, optional ...certificatesv1.KeyUsage) bool {
	has := sets.New(usages...)
	return has.HasAll(required...) && sets.New(required...).Insert(optional...).IsSuperset(has)
}

func checkNodeSubject(request *x509.CertificateRequest) error {
	if !slices.Equal(request.Subject.Organization, []string{nodesGroup}) {
		return errors.New("subject organization is not system:nodes")
	}
	if !strings.HasPrefix(request.Subject.CommonName, nodePrefix) {
		return errors.New("subject common name does not begin with system:node: ")
	}
	return nil
}

func checkKubeletClient(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNodeSubject(request); err != nil {
		return err
	}
	if len(request.DNSNames)+len(request.IPAddresses)+len(request.EmailAddresses)+len(request.URIs) > 0 {
		return errors.New("DNS, IP, email and URI subjectAltNames are not allowed")
	}
	if !allowed(usages, []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}, certificatesv1.UsageKeyEncipherment) {
		return fmt.Errorf("usages did not match %v", usages)
	}
	return nil
}

func checkKubeletServing(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNodeSubject(request); err != nil {
		return err
	}
	if len(request.DNSNames)+len(request.IPAddresses) == 0 {
		return errors.New("DNS or IP subjectAltName is required")
	}
	if len(request.EmailAddresses)+len(request.URIs) > 0 {
		return errors.New("email and URI subjectAltNames are not allowed")
	}
	if !allowed(usages, []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}, certificatesv1.UsageKeyEncipherment) {
		return fmt.Errorf("usages did not match %v", usages)
	}
	return nil
}
