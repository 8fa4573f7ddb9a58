// Package authentication answers questions about who somebody is.
package authentication

import (
	"context"
	"errors"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// TokenReviews say whose a token is.
func TokenReviews() *resource.Virtual {
	return &resource.Virtual{
		Identity: resource.Identity{GroupVersion: authenticationv1.SchemeGroupVersion, Kind: "TokenReview",
			Name: "tokenreviews", Singular: "tokenreview", ClusterScoped: true},
		New: func() runtime.Object { return &authenticationv1.TokenReview{} },
		Serve: func(env *resource.Env) (rest.Storage, error) {
			return &resource.Question[*authenticationv1.TokenReview]{Name: "tokenreview", ClusterScoped: true,
				Empty: func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} },
				Check: checkToken,
				Answer: func(ctx context.Context, review *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
					return answerToken(env, review)
				},
			}, nil
		},
	}
}

func checkToken(_ context.Context, review *authenticationv1.TokenReview) error {
	if review.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	return nil
}

func answerToken(env *resource.Env, review *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
	if env.Authenticator == nil {
		return review, nil
	}
	// The request holds nothing but the token, so nothing else can vouch for the user.
	request := &http.Request{Header: http.Header{"Authorization": {"Bearer " + review.Spec.Token}}}
	audiences := authenticator.Audiences(review.Spec.Audiences)
	if len(audiences) == 0 {
		audiences = env.Audiences
	}
	if len(audiences) > 0 {
		request = request.WithContext(authenticator.WithAudiences(context.Background(), audiences))
	}
	response, ok, err := env.Authenticator.AuthenticateRequest(request)
	review.Status.Authenticated = ok
	if err != nil {
		review.Status.Error = err.Error()
	}
	if response == nil || response.User == nil {
		return review, nil
	}
	if len(audiences) > 0 && len(audiences.Intersect(response.Audiences)) == 0 {
		return nil, apierrors.NewInternalError(errors.New("error validating audiences"))
	}
	review.Status.User = describe(response.User)
	review.Status.Audiences = response.Audiences
	return review, nil
}

func describe(who user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups(), Extra: map[string]authenticationv1.ExtraValue{}}
	for key, values := range who.GetExtra() {
		info.Extra[key] = values
	}
	return info
}
