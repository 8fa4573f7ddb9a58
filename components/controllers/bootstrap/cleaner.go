// Package bootstrap looks after the tokens by which new nodes join a cluster: it deletes those that have expired, and
// signs with the others what a new node must read before it can trust the API server.
// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
package bootstrap

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/cluster-bootstrap/util/secrets"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// newTokens watches the secrets that hold tokens, as the controller itself: it may read no others.
func newTokens(env *controller.Env) cache.SharedIndexInformer {
	return coreinformers.NewFilteredSecretInformer(env.Client, metav1.NamespaceSystem, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeBootstrapToken)).String()
	})
}

// cleaner is the token cleaner.
type cleaner struct {
	env     *controller.Env
	sources controller.Sources
	tokens  cache.SharedIndexInformer
	queue   *controller.Queue[controller.Key]
}

// NewCleaner makes the token cleaner.
func NewCleaner(env *controller.Env) (controller.Controller, error) {
	c := &cleaner{env: env, tokens: newTokens(env)}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	changed := func(token *corev1.Secret) { c.queue.Add(cache.MetaObjectToName(token)) }
	controller.Watch(&c.sources, c.tokens, controller.Handlers[*corev1.Secret]{Add: changed, Update: func(_, token *corev1.Secret) { changed(token) }})
	return c, nil
}

// Name implements controller.Controller.
func (c *cleaner) Name() string { return "token-cleaner-controller" }

// Run implements controller.Controller.
func (c *cleaner) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() { defer close(stopped); c.tokens.RunWithContext(ctx) }()
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, 1)
	}
	<-stopped
	return nil
}

// sync deletes a token that has expired, or comes back when it will have.
func (c *cleaner) sync(ctx context.Context, key controller.Key) error {
	token, err := corelisters.NewSecretLister(c.tokens.GetIndexer()).Secrets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	left, expired := secrets.GetExpiration(token, c.env.Clock.Now())
	if !expired {
		if left > 0 {
			c.queue.AddAfter(key, left)
		}
		return nil
	}
	err = c.env.Client.CoreV1().Secrets(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(token.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // Gone already, or another one of the same name.
	}
	return err
}
