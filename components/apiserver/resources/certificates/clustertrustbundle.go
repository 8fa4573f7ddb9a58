package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const longestBundle = 1024 * 1024

// ClusterTrustBundles are sets of trust anchors for everybody in the cluster.
func ClusterTrustBundles() *resource.Definition[*certificatesv1.ClusterTrustBundle] {
	return &resource.Definition[*certificatesv1.ClusterTrustBundle]{
		Identity: resource.Identity{
			GroupVersion: certificatesv1.SchemeGroupVersion, StoredAs: certificatesv1beta1.SchemeGroupVersion,
			Kind: "ClusterTrustBundle", Name: "clustertrustbundles", Singular: "clustertrustbundle",
			ClusterScoped: true,
		},
		New:     func() *certificatesv1.ClusterTrustBundle { return &certificatesv1.ClusterTrustBundle{} },
		NewList: func() runtime.Object { return &certificatesv1.ClusterTrustBundleList{} },
		// The name's form depends on the signer: see validateBundle.
		NameValidator: func(string, bool) []string { return nil },
		Validate: func(_ context.Context, b *certificatesv1.ClusterTrustBundle) field.ErrorList {
			return append(validateBundle(b), validateAnchors(b.Spec.TrustBundle)...)
		},
		ValidateUpdate: func(_ context.Context, b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
			found := problem.List{Errors: validateBundle(b)}
			if b.Spec.TrustBundle != old.Spec.TrustBundle {
				found.Add(validateAnchors(b.Spec.TrustBundle)...)
			}
			found.Add(apivalidation.ValidateImmutableField(b.Spec.SignerName, old.Spec.SignerName, field.NewPath("spec", "signerName"))...)
			return found.Errors
		},
		RequireVersionOnUpdate: true,
		Fields: func(b *certificatesv1.ClusterTrustBundle) fields.Set {
			return fields.Set{"spec.signerName": b.Spec.SignerName}
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("SignerName", certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"]),
		},
		Cells: func(b *certificatesv1.ClusterTrustBundle) []any {
			if b.Spec.SignerName == "" {
				return []any{b.Name, table.None}
			}
			return []any{b.Name, b.Spec.SignerName}
		},
	}
}

func validateBundle(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	var found problem.List
	if b.Name != "" {
		found.Messages(field.NewPath("metadata", "name"), b.Name, bundleNameProblems(b.Name, b.Spec.SignerName))
	}
	if b.Spec.SignerName != "" {
		found.Add(volume.ValidateSignerName(b.Spec.SignerName, field.NewPath("spec", "signerName"))...)
	}
	return found.Errors
}

// bundleNameProblems holds that a signer's bundles begin with its name, and that
// nobody else's do.
func bundleNameProblems(name, signer string) []string {
	if signer == "" {
		if strings.Contains(name, ":") {
			return []string{"ClusterTrustBundle without signer name must not have \":\" in its name"}
		}
		return apivalidation.NameIsDNSSubdomain(name, false)
	}
	prefix := strings.ReplaceAll(signer, "/", ":") + ":"
	own, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, prefix)}
	}
	return apivalidation.NameIsDNSSubdomain(own, false)
}

func validateAnchors(bundle string) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec", "trustBundle")
	if len(bundle) > longestBundle {
		found.Add(field.TooLong(at, "", longestBundle))
		return found.Errors
	}
	say := func(format string, args ...any) { found.Invalid(at, "<value omitted>", fmt.Sprintf(format, args...)) }
	places := map[string][]int{}
	i := 0
	for block, rest := pem.Decode([]byte(bundle)); block != nil; block, rest = pem.Decode(rest) {
		if detail := anchorProblem(block); detail != "" {
			say("entry %d %s", i, detail)
		}
		places[string(block.Bytes)] = append(places[string(block.Bytes)], i)
		i++
	}
	if len(found.Errors) > 0 {
		return found.Errors
	}
	if i == 0 {
		say("at least one trust anchor must be provided")
	}
	for _, where := range places {
		if len(where) > 1 {
			say("duplicate trust anchor (indices %v)", where)
		}
	}
	return found.Errors
}

func anchorProblem(block *pem.Block) string {
	if block.Type != certificateBlock {
		return "has bad block type: " + block.Type
	}
	if len(block.Headers) > 0 {
		return "has PEM block headers"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "does not parse as X.509"
	case !certificate.IsCA:
		return "does not have the CA bit set"
	case !certificate.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
