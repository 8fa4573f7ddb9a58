package controllers

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

const accountsNamespace = "kube-system"

// identities hands out client configurations, one per service account.
type identities struct {
	base *rest.Config
	// own is the manager's own client: it makes the accounts and requests their tokens.
	own       kubernetes.Interface
	perTokens bool
	clock     clock.PassiveClock
}

// config is the configuration of a client that acts as the service account. All of them share one connection.
func (i *identities) config(account string) *rest.Config {
	agent := i.base.UserAgent + "/system:serviceaccount:" + accountsNamespace + ":" + account
	if !i.perTokens {
		config := rest.CopyConfig(i.base)
		config.UserAgent = agent
		return config
	}
	config := rest.AnonymousClientConfig(i.base)
	config.UserAgent = agent
	config.ContentConfig = i.base.ContentConfig
	tokens := &tokenSource{client: i.own, account: account, clock: i.clock}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &bearer{next: next, tokens: tokens} })
	return config
}

// bearer puts a service account's current token on each request.
type bearer struct {
	next   http.RoundTripper
	tokens *tokenSource
}

func (b *bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	token, err := b.tokens.get(request.Context())
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := b.next.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		b.tokens.forget(token)
	}
	return response, err
}

// tokenSource requests a service account's token when it is first needed and again before it expires.
type tokenSource struct {
	client  kubernetes.Interface
	account string
	clock   clock.PassiveClock

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

func (t *tokenSource) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && t.clock.Now().Before(t.renewAt) {
		return t.token, nil
	}
	life := int64(time.Hour / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &life}}
	accounts := t.client.CoreV1().ServiceAccounts(accountsNamespace)
	granted, err := accounts.CreateToken(ctx, t.account, request, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: accountsNamespace, Name: t.account}}
		if _, err := accounts.Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return "", fmt.Errorf("create service account %s/%s: %w", accountsNamespace, t.account, err)
		}
		granted, err = accounts.CreateToken(ctx, t.account, request, metav1.CreateOptions{})
	}
	if err != nil {
		return "", fmt.Errorf("request token of service account %s/%s: %w", accountsNamespace, t.account, err)
	}
	now := t.clock.Now()
	t.token, t.renewAt = granted.Status.Token, now.Add(granted.Status.ExpirationTimestamp.Sub(now)*4/5)
	return t.token, nil
}

func (t *tokenSource) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token = ""
	}
}
