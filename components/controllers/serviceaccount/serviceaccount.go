// Package serviceaccount keeps a service account named default in every namespace.
// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-controller
package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const accountName = "default"

// Controller is the service account controller.
type Controller struct {
	env        *controller.Env
	workers    int
	sources    controller.Sources
	namespaces corelisters.NamespaceLister
	accounts   corelisters.ServiceAccountLister
	queue      *controller.Queue[string]
}

// New makes the service account controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	namespaces := env.Informers.Core().V1().Namespaces()
	accounts := env.Informers.Core().V1().ServiceAccounts()
	c := &Controller{env: env, workers: workers, namespaces: namespaces.Lister(), accounts: accounts.Lister()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	changed := func(namespace *corev1.Namespace) { c.queue.Add(namespace.Name) }
	controller.Watch(&c.sources, namespaces.Informer(), controller.Handlers[*corev1.Namespace]{
		Add: changed, Update: func(_, namespace *corev1.Namespace) { changed(namespace) },
	})
	controller.Watch(&c.sources, accounts.Informer(), controller.Handlers[*corev1.ServiceAccount]{
		Delete: func(account *corev1.ServiceAccount) { c.queue.Add(account.Namespace) },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "serviceaccount-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, name string) error {
	namespace, err := c.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if namespace.Status.Phase == corev1.NamespaceTerminating || namespace.DeletionTimestamp != nil {
		return nil
	}
	if _, err := c.accounts.ServiceAccounts(name).Get(accountName); err == nil {
		return nil
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: accountName}}
	_, err = c.env.Client.CoreV1().ServiceAccounts(name).Create(ctx, account, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
