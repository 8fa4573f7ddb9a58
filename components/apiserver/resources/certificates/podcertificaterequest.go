package certificates

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// PodCertificateRequests are what kubelets ask for on behalf of pods.
// See https://kubernetes.io/docs/concepts/storage/projected-volumes/#podcertificate.
func PodCertificateRequests() *resource.Definition[*certificatesv1.PodCertificateRequest] {
	docs := certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()
	signing := &signingRight{}
	return &resource.Definition[*certificatesv1.PodCertificateRequest]{
		Identity: resource.Identity{
			GroupVersion: certificatesv1.SchemeGroupVersion, StoredAs: certificatesv1beta1.SchemeGroupVersion,
			Kind: "PodCertificateRequest", Name: "podcertificaterequests", Singular: "podcertificaterequest",
		},
		New:     func() *certificatesv1.PodCertificateRequest { return &certificatesv1.PodCertificateRequest{} },
		NewList: func() runtime.Object { return &certificatesv1.PodCertificateRequestList{} },
		Default: func(r *certificatesv1.PodCertificateRequest) {
			if r.Spec.MaxExpirationSeconds == nil {
				r.Spec.MaxExpirationSeconds = ptr.To[int32](defaultMaxExpiration)
			}
		},
		Validate: func(_ context.Context, r *certificatesv1.PodCertificateRequest) field.ErrorList {
			return validatePodRequest(&r.Spec)
		},
		ValidateUpdate: func(_ context.Context, r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
			return apivalidation.ValidateImmutableField(r.Spec, old.Spec, field.NewPath("spec"))
		},
		RequireVersionOnUpdate: true,
		Spec:                   func(r *certificatesv1.PodCertificateRequest) any { return &r.Spec },
		Status:                 func(r *certificatesv1.PodCertificateRequest) any { return &r.Status },
		StatusResets:           []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate: func(ctx context.Context, r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
			errs := validatePodIssue(r, old, time.Now())
			if len(errs) > 0 || apiequality.Semantic.DeepEqual(r.Status, old.Status) {
				return errs
			}
			return signing.check(ctx, old.Spec.SignerName)
		},
		Fields: func(r *certificatesv1.PodCertificateRequest) fields.Set {
			return fields.Set{
				"spec.signerName": r.Spec.SignerName,
				"spec.podName":    r.Spec.PodName,
				"spec.nodeName":   string(r.Spec.NodeName),
			}
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("PodName", docs["podName"]),
			table.String("ServiceAccountName", docs["serviceAccountName"]),
			table.String("NodeName", docs["nodeName"]),
			table.String("SignerName", docs["signerName"]),
			table.String("State", "Is the request Pending, Issued, Denied, or Failed?"),
			table.String("UnverifiedUserAnnotations", docs["unverifiedUserAnnotations"]),
		},
		Cells: func(r *certificatesv1.PodCertificateRequest) []any {
			state := "Pending"
			for _, c := range r.Status.Conditions {
				if isOutcome(c.Type) {
					state = c.Type
				}
			}
			return []any{r.Name, r.Spec.PodName, r.Spec.ServiceAccountName, string(r.Spec.NodeName), r.Spec.SignerName,
				state, labels.FormatLabels(r.Spec.UnverifiedUserAnnotations)}
		},
		Attach: func(env *resource.Env, _ *genericregistry.Store) error {
			signing.authorizer = env.Authorizer
			return nil
		},
	}
}

// signingRight asks whether a user may sign for a signer.
type signingRight struct{ authorizer authorizer.Authorizer }

func (s *signingRight) check(ctx context.Context, signer string) field.ErrorList {
	at := field.NewPath("spec", "signerName")
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return field.ErrorList{field.InternalError(at, errors.New("cannot determine calling user to perform \"sign\" check"))}
	}
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, _ := s.authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: who, Verb: "sign", Name: name, ResourceRequest: true,
			APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers",
		})
		if decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", who.GetName(), signer))}
}

func isOutcome(condition string) bool {
	switch condition {
	case certificatesv1.PodCertificateRequestConditionTypeIssued,
		certificatesv1.PodCertificateRequestConditionTypeDenied,
		certificatesv1.PodCertificateRequestConditionTypeFailed:
		return true
	}
	return false
}

// outcome is how a request ended, "" while it is open.
func outcome(r *certificatesv1.PodCertificateRequest) string {
	for _, c := range r.Status.Conditions {
		if isOutcome(c.Type) && c.Status == metav1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}
