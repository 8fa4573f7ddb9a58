package accounttoken

import (
	"context"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	tokenjwt "k8s.io/apiserver/pkg/authentication/token/jwt"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
)

const (
	defaultSeconds = 60 * 60
	// mountedSeconds is what admission asks for when it mounts a token; by this odd figure such
	// tokens are told from others.
	mountedSeconds = defaultSeconds + 7
	// extendedSeconds is how long a mounted token lives for clients that never read it again.
	extendedSeconds = 365 * 24 * 60 * 60
	minSeconds      = 10 * 60
)

// Endpoint answers serviceaccounts/token.
type Endpoint struct {
	Issuer    *Issuer
	Audiences authenticator.Audiences
	Objects   Lookup
	// MaxSeconds bounds a token's life; 0 for no bound.
	MaxSeconds int64
	// Extend lets mounted tokens live a year.
	Extend bool
}

var (
	_ rest.NamedCreater                   = &Endpoint{}
	_ rest.GroupVersionKindProvider       = &Endpoint{}
	_ rest.SubresourceObjectMetaPreserver = &Endpoint{}
)

var tokenRequest = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// New makes an empty request.
func (e *Endpoint) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy does nothing: nothing is stored.
func (e *Endpoint) Destroy() {}

// GroupVersionKind says that the body is a TokenRequest.
func (e *Endpoint) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return tokenRequest }

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID by which a client says
// which account it means.
func (e *Endpoint) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create issues a token for a service account.
func (e *Endpoint) Create(ctx context.Context, name string, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	request := obj.(*authenticationv1.TokenRequest)
	namespace := genericrequest.NamespaceValue(ctx)
	account, err := e.accountFor(ctx, namespace, name, request)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	e.complete(request, account, now)
	if errs := validate(request); len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenRequest.GroupKind(), "", errs)
	}
	if admit != nil {
		if err := admit(ctx, request.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	what := bound{Namespace: namespace, Account: *referenceTo(account)}
	if err := e.bind(ctx, &what, account, request.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	if e.MaxSeconds > 0 && *request.Spec.ExpirationSeconds > e.MaxSeconds {
		warning.AddWarning(ctx, "", fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *request.Spec.ExpirationSeconds, e.MaxSeconds))
		request.Spec.ExpirationSeconds = &e.MaxSeconds
	}
	token, id, err := e.Issuer.issue(what, request.Spec.Audiences, e.lifeOf(&what, request, now))
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	audit.AddAuditAnnotation(ctx, serviceaccount.IssuedCredentialIDAuditAnnotationKey, tokenjwt.CredentialIDForJTI(id))
	answer := request.DeepCopy()
	answer.Status = authenticationv1.TokenRequestStatus{
		Token:               token,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second)),
	}
	return answer, nil
}

// accountFor finds the service account, which a body may name too, but not otherwise.
func (e *Endpoint) accountFor(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*corev1.ServiceAccount, error) {
	invalid := func(part, value, message string) error {
		return apierrors.NewInvalid(tokenRequest.GroupKind(), name, field.ErrorList{field.Invalid(field.NewPath("metadata", part), value, message)})
	}
	if request.Name != "" && request.Name != name {
		return nil, invalid("name", request.Name, "must match the service account name if specified")
	}
	if request.Namespace != "" && request.Namespace != namespace {
		return nil, invalid("namespace", request.Namespace, "must match the service account namespace if specified")
	}
	obj, err := e.Objects.GetLatest(ctx, corev1.Resource("serviceaccounts"), namespace, name)
	if err != nil {
		return nil, err
	}
	account := obj.(*corev1.ServiceAccount)
	if request.UID != "" && request.UID != account.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: tokenRequest.Group, Resource: tokenRequest.Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", request.UID, account.UID))
	}
	return account, nil
}

func (e *Endpoint) complete(request *authenticationv1.TokenRequest, account *corev1.ServiceAccount, now time.Time) {
	request.Name, request.Namespace, request.UID = account.Name, account.Namespace, account.UID
	request.CreationTimestamp = metav1.NewTime(now)
	request.Status = authenticationv1.TokenRequestStatus{}
	if len(request.Spec.Audiences) == 0 {
		request.Spec.Audiences = e.Audiences
	}
	if request.Spec.ExpirationSeconds == nil {
		seconds := int64(defaultSeconds)
		request.Spec.ExpirationSeconds = &seconds
	}
}

func validate(request *authenticationv1.TokenRequest) field.ErrorList {
	path, seconds := field.NewPath("spec", "expirationSeconds"), *request.Spec.ExpirationSeconds
	switch {
	case seconds < minSeconds:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > 1<<32:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

// bind ties the token's life to that of an object. A pod's token names its node too.
func (e *Endpoint) bind(ctx context.Context, what *bound, account *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	targets := map[string]struct {
		resource, namespace string
		into                **reference
	}{
		"Pod":    {"pods", account.Namespace, &what.Pod},
		"Secret": {"secrets", account.Namespace, &what.Secret},
		"Node":   {"nodes", "", &what.Node},
	}
	target, known := targets[gvk.Kind]
	if gvk.Group != "" || !known {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	obj, err := e.Objects.GetLatest(ctx, corev1.Resource(target.resource), target.namespace, ref.Name)
	if err != nil {
		return err
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		if pod.Spec.ServiceAccountName != account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		what.Node = e.nodeOf(ctx, pod)
	}
	*target.into = referenceTo(obj)
	if accessor, err := meta.Accessor(obj); err == nil && ref.UID != "" && ref.UID != accessor.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}

func (e *Endpoint) nodeOf(ctx context.Context, pod *corev1.Pod) *reference {
	if pod.Spec.NodeName == "" {
		return nil
	}
	node, err := e.Objects.Get(ctx, corev1.Resource("nodes"), "", pod.Spec.NodeName)
	if err != nil {
		return &reference{Name: pod.Spec.NodeName}
	}
	return referenceTo(node)
}

func (e *Endpoint) lifeOf(what *bound, request *authenticationv1.TokenRequest, now time.Time) life {
	l := life{from: now, seconds: *request.Spec.ExpirationSeconds}
	own := !slices.ContainsFunc(request.Spec.Audiences, func(a string) bool { return !e.Audiences.Has(a) })
	if e.Extend && what.Pod != nil && l.seconds == mountedSeconds && own {
		l.warnAfter, l.seconds = l.seconds, extendedSeconds
	}
	return l
}
