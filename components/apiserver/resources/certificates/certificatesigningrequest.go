package certificates

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/util/certificate/csr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// CertificateSigningRequests ask a signer for a certificate.
func CertificateSigningRequests() *resource.Definition[*certificatesv1.CertificateSigningRequest] {
	// The columns say what v1beta1 said of the fields, as upstream's do.
	docs := certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc()
	return &resource.Definition[*certificatesv1.CertificateSigningRequest]{
		Identity: resource.Identity{
			GroupVersion: certificatesv1.SchemeGroupVersion,
			Kind:         "CertificateSigningRequest", Name: "certificatesigningrequests", Singular: "certificatesigningrequest",
			ShortNames: []string{"csr"}, ClusterScoped: true,
		},
		New:           func() *certificatesv1.CertificateSigningRequest { return &certificatesv1.CertificateSigningRequest{} },
		NewList:       func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
		NameValidator: func(string, bool) []string { return nil },
		PrepareForCreate: func(ctx context.Context, r *certificatesv1.CertificateSigningRequest) {
			recordRequester(ctx, &r.Spec)
			r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{}
		},
		// What was asked for is not asked for differently later.
		FixedSpec: true,
		Validate: func(_ context.Context, r *certificatesv1.CertificateSigningRequest) field.ErrorList {
			return requestRules{}.validate(r)
		},
		ValidateUpdate: func(_ context.Context, r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
			return rulesFor(r, old).validateUpdate(r, old)
		},
		Spec:   func(r *certificatesv1.CertificateSigningRequest) any { return &r.Spec },
		Status: func(r *certificatesv1.CertificateSigningRequest) any { return &r.Status },
		// Conditions are set at the approval endpoint.
		StatusKept: []string{"status.conditions"},
		PrepareForStatusUpdate: func(_ context.Context, r, old *certificatesv1.CertificateSigningRequest) {
			keepDecision(r, old, certificatesv1.CertificateApproved)
			keepDecision(r, old, certificatesv1.CertificateDenied)
			stampConditions(r, old)
		},
		ValidateStatusUpdate: func(_ context.Context, r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
			rules := rulesFor(r, old)
			rules.mayIssue = true
			return rules.validateUpdate(r, old)
		},
		Fields: func(r *certificatesv1.CertificateSigningRequest) fields.Set {
			return fields.Set{"spec.signerName": r.Spec.SignerName}
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.Age(),
			table.String("SignerName", docs["signerName"]),
			table.String("Requestor", docs["request"]),
			table.String("RequestedDuration", docs["expirationSeconds"]),
			table.String("Condition", certificatesv1beta1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"]),
		},
		Cells: requestCells,
		Subresources: []resource.Subresource{{
			Name: "approval",
			Storage: func(_ *resource.Env, store *genericregistry.Store) (rest.Storage, error) {
				return resource.NewSubresourceStore(store, approval{store.UpdateStrategy}), nil
			},
		}},
	}
}

// recordRequester notes who asks; a client cannot say so itself.
func recordRequester(ctx context.Context, spec *certificatesv1.CertificateSigningRequestSpec) {
	spec.Username, spec.UID, spec.Groups, spec.Extra = "", "", nil, nil
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return
	}
	spec.Username, spec.UID, spec.Groups = who.GetName(), who.GetUID(), who.GetGroups()
	for key, values := range who.GetExtra() {
		if spec.Extra == nil {
			spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		spec.Extra[key] = values
	}
}

// approval is the strategy of the endpoint where requests are approved and denied:
// it changes conditions and nothing else.
type approval struct{ rest.RESTUpdateStrategy }

func (approval) AllowCreateOnUpdate(context.Context) bool { return false }

func (approval) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	r, before := obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest)
	stampConditions(r, before)
	decided := r.Status.Conditions
	r.Spec, r.Status = before.Spec, before.Status
	r.Status.Conditions = decided
}

func (approval) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	r, before := obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest)
	rules := rulesFor(r, before)
	rules.mayDecide = true
	return rules.validateUpdate(r, before)
}

func (approval) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// GetResetFields tells server-side apply what the endpoint leaves alone.
func (approval) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(certificatesv1.SchemeGroupVersion.String()): fieldpath.NewSet(
			fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status", "certificate")),
	}
}

// keepDecision restores the conditions of a type that the status endpoint may not
// change, unless there are more or fewer, which validation refuses.
func keepDecision(r, old *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) {
	stored := conditionsOf(old, kind)
	if len(conditionsOf(r, kind)) != len(stored) {
		return
	}
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == kind {
			r.Status.Conditions[i], stored = stored[0], stored[1:]
		}
	}
}

func conditionsOf(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) (found []certificatesv1.CertificateSigningRequestCondition) {
	for _, c := range r.Status.Conditions {
		if c.Type == kind {
			found = append(found, c)
		}
	}
	return found
}

// stampConditions fills in the times that a client left out.
func stampConditions(r, old *certificatesv1.CertificateSigningRequest) {
	now := metav1.Now()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, before := range conditionsOf(old, c.Type) {
			if before.Status == c.Status && !before.LastTransitionTime.IsZero() {
				c.LastTransitionTime = before.LastTransitionTime
				break
			}
		}
	}
}

func requestCells(r *certificatesv1.CertificateSigningRequest) []any {
	signer, lifetime := table.None, table.None
	if r.Spec.SignerName != "" {
		signer = r.Spec.SignerName
	}
	if r.Spec.ExpirationSeconds != nil {
		lifetime = duration.HumanDuration(csr.ExpirationSecondsToDuration(*r.Spec.ExpirationSeconds))
	}
	return []any{r.Name, table.Since(r.CreationTimestamp), signer, r.Spec.Username, lifetime, requestState(r)}
}

func requestState(r *certificatesv1.CertificateSigningRequest) string {
	has := func(kind certificatesv1.RequestConditionType) bool { return len(conditionsOf(r, kind)) > 0 }
	state := "Pending"
	if has(certificatesv1.CertificateDenied) {
		state = "Denied"
	} else if has(certificatesv1.CertificateApproved) {
		state = "Approved"
	}
	if has(certificatesv1.CertificateFailed) {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
