package authentication

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// SelfSubjectReviews tell users who they are.
func SelfSubjectReviews() *resource.Virtual {
	return &resource.Virtual{
		Identity: resource.Identity{GroupVersion: authenticationv1.SchemeGroupVersion, Kind: "SelfSubjectReview",
			Name: "selfsubjectreviews", Singular: "selfsubjectreview", ClusterScoped: true},
		New: func() runtime.Object { return &authenticationv1.SelfSubjectReview{} },
		Serve: func(*resource.Env) (rest.Storage, error) {
			return &resource.Question[*authenticationv1.SelfSubjectReview]{Name: "selfsubjectreview", ClusterScoped: true,
				Empty:  func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} },
				Answer: whoAmI,
			}, nil
		},
	}
}

func whoAmI(ctx context.Context, _ *authenticationv1.SelfSubjectReview) (*authenticationv1.SelfSubjectReview, error) {
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: describe(who)},
	}, nil
}
