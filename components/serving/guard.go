package serving

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// Reviewers ask the API server whose token a request carries, and whether that user may make it.
type Reviewers struct {
	Tokens authenticationclient.AuthenticationV1Interface
	Access authorizationclient.AuthorizationV1Interface
}

// guard lets requests through to paths that not everybody may read.
type guard struct {
	open         []string
	authenticate authenticator.Request
	authorize    authorizer.Authorizer
}

func newGuard(ctx context.Context, options Options, reviewers Reviewers) (*guard, error) {
	const limit, remembered = 10 * time.Second, 10 * time.Second
	retry := &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	authentication := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient:  reviewers.Tokens,
		TokenAccessReviewTimeout: limit,
		WebhookRetryBackoff:      retry,
		CacheTTL:                 remembered,
	}
	if options.ClientCAFile != "" {
		authorities, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", options.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("--client-ca-file: %w", err)
		}
		go authorities.Run(ctx, 1)
		authentication.ClientCertificateCAContentProvider = authorities
	}
	g := &guard{open: options.AlwaysAllowPaths}
	var err error
	if g.authenticate, _, err = authentication.New(); err != nil {
		return nil, err
	}
	g.authorize, err = authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: reviewers.Access,
		AllowCacheTTL:             remembered,
		DenyCacheTTL:              remembered,
		WebhookRetryBackoff:       retry,
	}.New()
	return g, err
}

func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(g.open, r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		who, known, err := g.authenticate.AuthenticateRequest(r)
		if err != nil || !known {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb := strings.ToLower(r.Method)
		decision, reason, err := g.authorize.Authorize(r.Context(), authorizer.AttributesRecord{User: who.User, Verb: verb, Path: r.URL.Path})
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case decision != authorizer.DecisionAllow:
			http.Error(w, fmt.Sprintf("Forbidden: user %q cannot %s path %q %s", who.User.GetName(), verb, r.URL.Path, reason), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
