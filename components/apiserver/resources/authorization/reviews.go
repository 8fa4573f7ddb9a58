// Package authorization answers questions about who may do what.
package authorization

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

func identity(kind, name, singular string, cluster bool) resource.Identity {
	return resource.Identity{GroupVersion: authorizationv1.SchemeGroupVersion, Kind: kind, Name: name, Singular: singular, ClusterScoped: cluster}
}

// SubjectAccessReviews say whether somebody may do something.
func SubjectAccessReviews() *resource.Virtual {
	type review = authorizationv1.SubjectAccessReview
	return &resource.Virtual{
		Identity: identity("SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", true),
		New:      func() runtime.Object { return &review{} },
		Serve: func(env *resource.Env) (rest.Storage, error) {
			return &resource.Question[*review]{Name: "subjectaccessreview", ClusterScoped: true, Empty: func() *review { return &review{} },
				Check: func(_ context.Context, r *review) error {
					errs := append(validateSpec(r.Spec), validateMeta(r.ObjectMeta, "must be empty")...)
					return invalid("SubjectAccessReview", errs)
				},
				Answer: func(ctx context.Context, r *review) (*review, error) {
					r.Status = decide(ctx, env.Authorizer, subjectOf(r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
					return r, nil
				}}, nil
		},
	}
}

// LocalSubjectAccessReviews ask the same of one namespace.
func LocalSubjectAccessReviews() *resource.Virtual {
	type review = authorizationv1.LocalSubjectAccessReview
	return &resource.Virtual{
		Identity: identity("LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview", false),
		New:      func() runtime.Object { return &review{} },
		Serve: func(env *resource.Env) (rest.Storage, error) {
			return &resource.Question[*review]{Name: "localsubjectaccessreview", Empty: func() *review { return &review{} },
				Check: func(ctx context.Context, r *review) error {
					if err := invalid("LocalSubjectAccessReview", validateLocal(r)); err != nil {
						return err
					}
					namespace := genericrequest.NamespaceValue(ctx)
					if namespace == "" {
						return apierrors.NewBadRequest("namespace is required on this type: " + namespace)
					}
					if namespace != r.Namespace {
						return apierrors.NewBadRequest("spec.resourceAttributes.namespace must match namespace: " + namespace)
					}
					return nil
				},
				Answer: func(ctx context.Context, r *review) (*review, error) {
					r.Status = decide(ctx, env.Authorizer, subjectOf(r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
					return r, nil
				}}, nil
		},
	}
}

// SelfSubjectAccessReviews say whether the asker may do something.
func SelfSubjectAccessReviews() *resource.Virtual {
	type review = authorizationv1.SelfSubjectAccessReview
	return &resource.Virtual{
		Identity: identity("SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", true),
		New:      func() runtime.Object { return &review{} },
		Serve: func(env *resource.Env) (rest.Storage, error) {
			return &resource.Question[*review]{Name: "selfsubjectaccessreview", ClusterScoped: true, Empty: func() *review { return &review{} },
				Check: func(_ context.Context, r *review) error {
					errs := validateAttributes(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
					return invalid("SelfSubjectAccessReview", append(errs, validateMeta(r.ObjectMeta, "must be empty")...))
				},
				Answer: func(ctx context.Context, r *review) (*review, error) {
					who, ok := genericrequest.UserFrom(ctx)
					if !ok {
						return nil, apierrors.NewBadRequest("no user present on request")
					}
					r.Status = decide(ctx, env.Authorizer, who, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
					return r, nil
				}}, nil
		},
	}
}

// SelfSubjectRulesReviews list what the asker may do in a namespace.
func SelfSubjectRulesReviews() *resource.Virtual {
	type review = authorizationv1.SelfSubjectRulesReview
	return &resource.Virtual{
		Identity: identity("SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", true),
		New:      func() runtime.Object { return &review{} },
		Serve: func(env *resource.Env) (rest.Storage, error) {
			return &resource.Question[*review]{Name: "selfsubjectrulesreview", ClusterScoped: true, Empty: func() *review { return &review{} },
				Check: func(_ context.Context, r *review) error {
					if r.Spec.Namespace == "" {
						return apierrors.NewBadRequest("no namespace on request")
					}
					return nil
				},
				Answer: func(ctx context.Context, r *review) (*review, error) {
					who, ok := genericrequest.UserFrom(ctx)
					if !ok {
						return nil, apierrors.NewBadRequest("no user present on request")
					}
					return listRules(ctx, env.Rules, who, r.Spec.Namespace), nil
				}}, nil
		},
	}
}

func subjectOf(spec authorizationv1.SubjectAccessReviewSpec) user.Info {
	who := &user.DefaultInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	for key, values := range spec.Extra {
		if who.Extra == nil {
			who.Extra = map[string][]string{}
		}
		who.Extra[key] = values
	}
	return who
}

func invalid(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
}
