// Package token gets service account tokens for pods and renews them in time.
package token

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// maxAge is when a token is renewed however long it is valid.
const maxAge = 24 * time.Hour

// Source issues tokens bound to pods (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens).
type Source struct {
	client kubernetes.Interface
	now    func() time.Time

	mu     sync.Mutex
	issued map[key]*issue
}

type key struct {
	pod            types.UID
	account        string
	audience       string
	expirationSecs int64
}

type issue struct {
	token   string
	renewAt time.Time
}

// NewSource returns a source that asks client.
func NewSource(client kubernetes.Interface) *Source {
	return &Source{client: client, now: time.Now, issued: map[key]*issue{}}
}

// Get returns a token for a projection of a pod, and when it will be time to get
// the next one.
func (s *Source) Get(ctx context.Context, pod *v1.Pod, projection *v1.ServiceAccountTokenProjection) (token string, renewAt time.Time, err error) {
	k := key{pod: pod.UID, account: pod.Spec.ServiceAccountName, audience: projection.Audience}
	if projection.ExpirationSeconds != nil {
		k.expirationSecs = *projection.ExpirationSeconds
	}
	s.mu.Lock()
	have := s.issued[k]
	s.mu.Unlock()
	if have != nil && s.now().Before(have.renewAt) {
		return have.token, have.renewAt, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: projection.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if projection.Audience != "" {
		request.Spec.Audiences = []string{projection.Audience}
	}
	asked := s.now()
	answer, err := s.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		if have != nil && s.now().Before(have.renewAt.Add(maxAge/10)) {
			return have.token, s.now().Add(10 * time.Second), nil
		}
		return "", time.Time{}, fmt.Errorf("failed to fetch token: %w", err)
	}
	next := &issue{token: answer.Status.Token, renewAt: renewal(asked, answer)}
	s.mu.Lock()
	s.issued[k] = next
	s.mu.Unlock()
	return next.token, next.renewAt, nil
}

// renewal is when four fifths of a token's life or a day have passed, a little
// earlier or later so that not all tokens are renewed at once.
func renewal(asked time.Time, answer *authenticationv1.TokenRequest) time.Time {
	life := maxAge
	if !answer.Status.ExpirationTimestamp.IsZero() {
		life = answer.Status.ExpirationTimestamp.Sub(asked) * 4 / 5
	} else if s := answer.Spec.ExpirationSeconds; s != nil {
		life = time.Duration(*s) * time.Second * 4 / 5
	}
	life = min(life, maxAge)
	if spread := int64(life / 20); spread > 0 {
		life -= time.Duration(rand.Int64N(spread))
	}
	return asked.Add(life)
}

// Forget drops a pod's tokens.
func (s *Source) Forget(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.issued {
		if k.pod == pod {
			delete(s.issued, k)
		}
	}
}
