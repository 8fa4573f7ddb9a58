package accounttoken

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	tokenjwt "k8s.io/apiserver/pkg/authentication/token/jwt"
)

// Lookup reads the objects that tokens are bound to.
type Lookup interface {
	Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
	GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
}

// Verifier recognises tokens of its issuers.
type Verifier struct {
	Issuers   []string
	Keys      []Key
	Audiences authenticator.Audiences
	// Objects says whether what a token is bound to still exists.
	Objects Lookup
}

var _ authenticator.Token = &Verifier{}

// AuthenticateToken implements authenticator.Token. A token of another issuer is
// somebody else's to judge.
func (v *Verifier) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !slices.Contains(v.Issuers, claimedIssuer(token)) {
		return nil, false, nil
	}
	signed, err := jwt.ParseSigned(token)
	if err != nil {
		return nil, false, nil //nolint:nilerr // not a token of ours; others may know it
	}
	var public jwt.Claims
	var private privateClaims
	if err := v.open(signed, &public, &private); err != nil {
		return nil, false, err
	}
	if !slices.Contains(v.Issuers, public.Issuer) {
		return nil, false, fmt.Errorf("token issuer %q is invalid", public.Issuer)
	}
	audiences, err := v.audiences(ctx, authenticator.Audiences(public.Audience))
	if err != nil {
		return nil, false, err
	}
	account, err := v.validate(ctx, &public, &private.Kubernetes)
	if err != nil {
		return nil, false, err
	}
	return &authenticator.Response{User: account.UserInfo(), Audiences: audiences}, true, nil
}

// claimedIssuer reads the issuer before the signature is checked, to tell whose token it is.
func claimedIssuer(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// open checks the signature with the key that the token names, or with all.
func (v *Verifier) open(signed *jwt.JSONWebToken, public *jwt.Claims, private *privateClaims) error {
	named := slices.IndexFunc(signed.Headers, func(h jose.Header) bool { return h.KeyID != "" })
	err := errors.New("invalid signature, no keys found")
	for _, key := range v.Keys {
		if named >= 0 && signed.Headers[named].KeyID != key.ID {
			continue
		}
		if err = signed.Claims(key.Public, public, private); err == nil {
			return nil
		}
	}
	return err
}

func (v *Verifier) audiences(ctx context.Context, of authenticator.Audiences) (authenticator.Audiences, error) {
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		wanted = v.Audiences
	}
	if len(of) == 0 {
		of = v.Audiences
	}
	common := of.Intersect(wanted)
	if len(common) == 0 && len(v.Audiences) > 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", of, wanted)
	}
	return common, nil
}

var errInvalidated = errors.New("service account token has been invalidated")

// validate checks the token's time and that everything it is bound to still exists.
func (v *Verifier) validate(ctx context.Context, public *jwt.Claims, what *bound) (*serviceaccount.ServiceAccountInfo, error) {
	now := time.Now()
	switch err := public.Validate(jwt.Expected{Time: now}); {
	case errors.Is(err, jwt.ErrExpired):
		return nil, errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return nil, errors.New("service account token is not valid yet")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return nil, errors.New("service account token is issued in the future")
	case err != nil:
		return nil, fmt.Errorf("service account token claims could not be validated: %w", err)
	}
	gone := now.Add(-jwt.DefaultLeeway)
	if err := v.exists(ctx, "serviceaccounts", what.Namespace, &what.Account, gone); err != nil {
		return nil, err
	}
	info := &serviceaccount.ServiceAccountInfo{Namespace: what.Namespace, Name: what.Account.Name, UID: what.Account.UID}
	if public.ID != "" {
		info.CredentialID = tokenjwt.CredentialIDForJTI(public.ID)
	}
	if what.Secret != nil {
		if v.exists(ctx, "secrets", what.Namespace, what.Secret, gone) != nil {
			return nil, errInvalidated
		}
	}
	if what.Node != nil {
		info.NodeName, info.NodeUID = what.Node.Name, what.Node.UID
	}
	switch {
	case what.Pod != nil:
		if v.exists(ctx, "pods", what.Namespace, what.Pod, gone) != nil {
			return nil, errInvalidated
		}
		info.PodName, info.PodUID = what.Pod.Name, what.Pod.UID
	case what.Node != nil:
		if v.exists(ctx, "nodes", "", what.Node, gone) != nil {
			return nil, errInvalidated
		}
	}
	return info, nil
}

// exists looks into the watch cache first, and into etcd where the cache, which may be
// behind, disagrees with the token.
func (v *Verifier) exists(ctx context.Context, resource, namespace string, ref *reference, gone time.Time) error {
	gr := corev1.Resource(resource)
	obj, err := v.Objects.Get(ctx, gr, namespace, ref.Name)
	if err == nil && matches(obj, ref, gone) == nil {
		return nil
	}
	if obj, err = v.Objects.GetLatest(ctx, gr, namespace, ref.Name); err != nil {
		return err
	}
	return matches(obj, ref, gone)
}

func matches(obj runtime.Object, ref *reference, gone time.Time) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if string(accessor.GetUID()) != ref.UID {
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", accessor.GetUID(), ref.UID)
	}
	if deleted := accessor.GetDeletionTimestamp(); deleted != nil && deleted.Time.Before(gone) {
		return fmt.Errorf("service account %s/%s has been deleted", accessor.GetNamespace(), ref.Name)
	}
	return nil
}
