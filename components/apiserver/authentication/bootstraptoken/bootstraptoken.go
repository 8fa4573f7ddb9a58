// Package bootstraptoken recognises the tokens by which new nodes join a cluster.
// See https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/.
package bootstraptoken

import (
	"context"
	"crypto/subtle"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
)

const (
	secretType   = "bootstrap.kubernetes.io/token"
	userPrefix   = "system:bootstrap:"
	defaultGroup = "system:bootstrappers"
)

// Lookup reads secrets.
type Lookup interface {
	GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
}

// Authenticator knows the tokens in kube-system's secrets.
type Authenticator struct {
	secrets    Lookup
	token      *regexp.Regexp
	extraGroup *regexp.Regexp
}

var _ authenticator.Token = &Authenticator{}

// New reads the secrets through objects.
func New(objects Lookup) *Authenticator {
	return &Authenticator{
		secrets:    objects,
		token:      regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`),
		extraGroup: regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`),
	}
}

// AuthenticateToken implements authenticator.Token.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	parts := a.token.FindStringSubmatch(token)
	if parts == nil {
		return nil, false, nil
	}
	obj, err := a.secrets.GetLatest(ctx, corev1.Resource("secrets"), metav1.NamespaceSystem, "bootstrap-token-"+parts[1])
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	secret := obj.(*corev1.Secret)
	groups, err := a.judge(secret, parts[1], parts[2], time.Now())
	if err != nil {
		klog.V(3).InfoS("Bootstrap token is refused", "secret", klog.KObj(secret), "reason", err)
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: userPrefix + parts[1], Groups: groups}}, true, nil
}

// judge says why a secret does not vouch for a token, or for which groups it does.
func (a *Authenticator) judge(secret *corev1.Secret, id, proof string, now time.Time) ([]string, error) {
	data := func(key string) string { return string(secret.Data[key]) }
	switch {
	case secret.DeletionTimestamp != nil:
		return nil, fmt.Errorf("it is being deleted")
	case secret.Type != secretType:
		return nil, fmt.Errorf("its type is not %s", secretType)
	case subtle.ConstantTimeCompare([]byte(data("token-secret")), []byte(proof)) != 1:
		return nil, fmt.Errorf("token-secret does not match")
	case data("token-id") != id:
		return nil, fmt.Errorf("token-id does not match")
	case data("usage-bootstrap-authentication") != "true":
		return nil, fmt.Errorf("usage-bootstrap-authentication is not true")
	}
	if text := data("expiration"); text != "" {
		if end, err := time.Parse(time.RFC3339, text); err != nil || !now.Before(end) {
			return nil, fmt.Errorf("it has expired: %s", text)
		}
	}
	groups := []string{defaultGroup}
	for _, group := range strings.Split(data("auth-extra-groups"), ",") {
		if group == "" {
			continue
		}
		if !a.extraGroup.MatchString(group) {
			return nil, fmt.Errorf("auth-extra-groups: %q is not allowed", group)
		}
		groups = append(groups, group)
	}
	return groups, nil
}
