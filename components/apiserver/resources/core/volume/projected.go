package volume

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

const (
	shortestToken, longestToken             = 10 * 60, 1 << 32
	shortestCertificate, longestCertificate = 3600, 91 * 24 * 3600
	// longestOwnCertificate is the bound for Kubernetes' own signers.
	longestOwnCertificate = 24 * 3600
)

// projection checks the sources of one projected volume, which write into one directory.
type projection struct {
	*problem.List
	at    *field.Path
	taken map[string]bool
}

// claimPath notes that a source writes a file. culprit is shown where another did already.
func (p *projection) claimPath(file, culprit string) {
	if p.taken[file] {
		p.Invalid(p.at, culprit, "conflicting duplicate paths")
	}
	p.taken[file] = true
}

func projected(f *problem.List, at *field.Path, v *corev1.ProjectedVolumeSource, o Options) {
	validateMode(f, v.DefaultMode, at.Child("defaultMode"))
	p := &projection{f, at, map[string]bool{}}
	for i := range v.Sources {
		s, sourceAt := &v.Sources[i], at.Child("sources").Index(i)
		given := 0
		for _, part := range []struct {
			name  string
			set   bool
			check func(at *field.Path)
		}{
			{"secret", s.Secret != nil, func(at *field.Path) { p.items(at, s.Secret.Name, s.Secret.Items) }},
			{"configMap", s.ConfigMap != nil, func(at *field.Path) { p.items(at, s.ConfigMap.Name, s.ConfigMap.Items) }},
			{"downwardAPI", s.DownwardAPI != nil, func(at *field.Path) { p.downward(at, s.DownwardAPI.Items) }},
			{"serviceAccountToken", s.ServiceAccountToken != nil, func(at *field.Path) { p.token(at, s.ServiceAccountToken, o) }},
			{"clusterTrustBundle", s.ClusterTrustBundle != nil, func(at *field.Path) { p.trustBundle(at, s.ClusterTrustBundle) }},
			{"podCertificate", s.PodCertificate != nil, func(at *field.Path) { p.certificate(at, s.PodCertificate) }},
		} {
			if part.set {
				given++
				part.check(sourceAt.Child(part.name))
			}
		}
		if given > 1 {
			p.Forbidden(sourceAt, "may not specify more than 1 volume type per source")
		}
	}
}

func (p *projection) items(at *field.Path, name string, items []corev1.KeyToPath) {
	p.NonEmpty(at.Child("name"), name)
	keysToPaths(p.List, at.Child("items"), items)
	for _, item := range items {
		if item.Path != "" {
			p.claimPath(item.Path, name)
		}
	}
}

func (p *projection) downward(at *field.Path, files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		downwardFile(p.List, at, &files[i])
		if file := files[i].Path; file != "" {
			p.claimPath(file, file)
		}
	}
}

func (p *projection) token(at *field.Path, t *corev1.ServiceAccountTokenProjection, o Options) {
	expiryAt := at.Child("expirationSeconds")
	switch seconds := t.ExpirationSeconds; {
	case seconds == nil:
		p.Required(expiryAt, "")
	case *seconds < shortestToken:
		p.Invalid(expiryAt, *seconds, "may not specify a duration less than 10 minutes")
	case *seconds > longestToken:
		p.Invalid(expiryAt, *seconds, "may not specify a duration larger than 2^32 seconds")
	}
	// The path's problems are shown at the volume, not at the source, as upstream does.
	if t.Path == "" {
		p.Required(p.at.Child("path"), "")
	} else if !o.AnyTokenPath {
		p.Add(ValidateFileInVolume(t.Path, p.at.Child("path"))...)
	}
}

func (p *projection) trustBundle(at *field.Path, b *corev1.ClusterTrustBundleProjection) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		p.Invalid(at, b, "only one of name and signerName may be used")
	case b.Name != nil:
		nameAt := at.Child("name")
		if *b.Name == "" {
			p.Required(nameAt, "must be a valid object name")
		}
		for _, m := range trustBundleName(*b.Name) {
			p.Invalid(nameAt, *b.Name, fmt.Sprintf("not a valid clustertrustbundlename: %v", m))
		}
		if b.LabelSelector != nil {
			p.Invalid(at.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			p.Required(at.Child("signerName"), "must be a valid signer name")
		}
		p.Add(ValidateSignerName(*b.SignerName, at.Child("signerName"))...)
		p.Add(metav1validation.ValidateLabelSelector(b.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
	default:
		p.Required(at, "either name or signerName must be specified")
	}
	p.NonEmpty(at.Child("path"), b.Path)
	p.Add(ValidateFileInVolume(b.Path, at.Child("path"))...)
	p.claimPath(b.Path, b.Path)
}

// trustBundleName checks the name of a bundle: a DNS subdomain, after the signer's
// name with colons for slashes if the bundle belongs to one.
func trustBundleName(name string) []string {
	if at := strings.LastIndex(name, ":"); at >= 0 {
		name = name[at+1:]
	}
	return apivalidation.NameIsDNSSubdomain(name, false)
}

func (p *projection) certificate(at *field.Path, c *corev1.PodCertificateProjection) {
	p.Add(ValidateSignerName(c.SignerName, at.Child("signerName"))...)
	if c.UserAnnotations != nil {
		annotationsAt := at.Child("userAnnotations")
		for key := range c.UserAnnotations {
			p.Add(validation.IsDomainPrefixedKey(annotationsAt, strings.ToLower(key))...)
		}
		if apivalidation.ValidateAnnotationsSize(c.UserAnnotations) != nil {
			p.Add(field.TooLong(annotationsAt, "", apivalidation.TotalAnnotationSizeLimitB))
		}
	}
	problem.OneOf(p.List, at.Child("keyType"), c.KeyType, "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
	if s := c.MaxExpirationSeconds; s != nil {
		longest := int32(longestCertificate)
		if host, _, _ := strings.Cut(c.SignerName, "/"); host == "kubernetes.io" || strings.HasSuffix(host, ".kubernetes.io") {
			longest = longestOwnCertificate
		}
		switch expiryAt := at.Child("maxExpirationSeconds"); {
		case *s < shortestCertificate:
			p.Invalid(expiryAt, *s, "if provided, maxExpirationSeconds must be >= 3600")
		case *s > longest:
			p.Invalid(expiryAt, *s, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", longest))
		}
	}
	files := []struct{ name, path string }{
		{"credentialBundlePath", c.CredentialBundlePath}, {"keyPath", c.KeyPath}, {"certificateChainPath", c.CertificateChainPath},
	}
	files = slices.DeleteFunc(files, func(f struct{ name, path string }) bool { return f.path == "" })
	for _, f := range files {
		p.Add(ValidateFileInVolume(f.path, at.Child(f.name))...)
		p.claimPath(f.path, f.path)
	}
	if len(files) == 0 {
		p.Required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
	}
}

// ValidateSignerName checks the name of a certificate signer, "example.com/name":
// a domain of two labels or more, and a path whose parts are DNS subdomains.
func ValidateSignerName(name string, at *field.Path) field.ErrorList {
	var found problem.List
	if name == "" {
		found.Required(at, "")
		return found.Errors
	}
	parts := strings.Split(name, "/")
	if len(parts) != 2 {
		found.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return found.Errors
	}
	const longestDomain = validation.DNS1123SubdomainMaxLength
	if len(parts[0]) > longestDomain {
		found.Add(field.TooLong(at, "", longestDomain))
	}
	labels := func(part string, check func(string) []string) {
		for label := range strings.SplitSeq(part, ".") {
			if messages := check(label); len(messages) > 0 {
				for _, m := range messages {
					found.Invalid(at, part, fmt.Sprintf("validating label %q: %s", label, m))
				}
				return
			}
		}
	}
	labels(parts[0], validation.IsDNS1123Label)
	if !strings.Contains(parts[0], ".") {
		found.Invalid(at, parts[0], "should be a domain with at least two segments separated by dots")
	}
	labels(parts[1], validation.IsDNS1123Subdomain)
	const longest = longestDomain + 1 + validation.DNS1123LabelMaxLength + 1 + validation.DNS1123SubdomainMaxLength
	if len(name) > longest {
		found.Add(field.TooLong(at, "", longest))
	}
	return found.Errors
}
