package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
)

// Access says who may use the kubelet's API, and for what.
// See https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/.
type Access struct {
	node          string
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
}

// NewAccess builds the checks that a configuration asks for. Without a client,
// tokens are not accepted, and webhook authorisation refuses everybody.
func NewAccess(ctx context.Context, node string, authn kubeletconfig.KubeletAuthentication, authz kubeletconfig.KubeletAuthorization, client kubernetes.Interface) (*Access, error) {
	backoff := &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	config := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                &apiserver.AnonymousAuthConfig{Enabled: *authn.Anonymous.Enabled},
		CacheTTL:                 authn.Webhook.CacheTTL.Duration,
		WebhookRetryBackoff:      backoff,
		TokenAccessReviewTimeout: 10 * time.Second,
	}
	if *authn.Webhook.Enabled && client != nil {
		config.TokenAccessReviewClient = client.AuthenticationV1()
	}
	if authn.X509.ClientCAFile != "" {
		authorities, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", authn.X509.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("authentication.x509.clientCAFile: %w", err)
		}
		go authorities.Run(ctx, 1)
		config.ClientCertificateCAContentProvider = authorities
	}
	a := &Access{node: node}
	var err error
	if a.authenticator, _, err = config.New(); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	switch {
	case authz.Mode == kubeletconfig.KubeletAuthorizationModeAlwaysAllow:
		a.authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	case client == nil:
		a.authorizer = authorizerfactory.NewAlwaysDenyAuthorizer()
	default:
		a.authorizer, err = authorizerfactory.DelegatingAuthorizerConfig{
			SubjectAccessReviewClient: client.AuthorizationV1(),
			AllowCacheTTL:             authz.Webhook.CacheAuthorizedTTL.Duration,
			DenyCacheTTL:              authz.Webhook.CacheUnauthorizedTTL.Duration,
			WebhookRetryBackoff:       backoff,
		}.New()
		if err != nil {
			return nil, fmt.Errorf("authorization: %w", err)
		}
	}
	return a, nil
}

// Guard lets only those through to next who may.
func (a *Access) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := a.authenticator.AuthenticateRequest(r)
		if err != nil || !ok {
			if err != nil {
				klog.FromContext(r.Context()).V(2).Info("A request could not be authenticated", "err", err)
			}
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		var refused string
		for _, attributes := range a.attributes(who.User, r) {
			decision, _, err := a.authorizer.Authorize(r.Context(), attributes)
			if err != nil {
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=%s, subresource=%s)",
					who.User.GetName(), attributes.GetVerb(), attributes.GetResource(), attributes.GetSubresource()), http.StatusInternalServerError)
				return
			}
			if decision == authorizer.DecisionAllow {
				next.ServeHTTP(w, r)
				return
			}
			refused = fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=%s, subresource(s)=[%s])",
				who.User.GetName(), attributes.GetVerb(), attributes.GetResource(), attributes.GetSubresource())
		}
		http.Error(w, refused, http.StatusForbidden)
	})
}

// attributes are what a request must be allowed; any of them is enough.
func (a *Access) attributes(who user.Info, r *http.Request) []authorizer.Attributes {
	verb := map[string]string{
		http.MethodPost: "create", http.MethodGet: "get", http.MethodPut: "update",
		http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[r.Method]
	var out []authorizer.Attributes
	for _, subresource := range subresources(r.URL.Path) {
		out = append(out, authorizer.AttributesRecord{
			User: who, Verb: verb, Namespace: "", APIGroup: "", APIVersion: "v1",
			Resource: "nodes", Subresource: subresource, Name: a.node, ResourceRequest: true, Path: r.URL.Path,
		})
	}
	return out
}

// subresources are those of nodes that guard a path, the finer one first.
func subresources(path string) []string {
	under := func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
	switch {
	case under("/stats"):
		return []string{"stats"}
	case under("/metrics"):
		return []string{"metrics"}
	case under("/logs"):
		return []string{"log"}
	case under("/checkpoint"):
		return []string{"checkpoint"}
	case under("/pods"), under("/runningpods"):
		return []string{"pods", "proxy"}
	case under("/healthz"):
		return []string{"healthz", "proxy"}
	case under("/configz"):
		return []string{"configz", "proxy"}
	}
	return []string{"proxy"}
}
