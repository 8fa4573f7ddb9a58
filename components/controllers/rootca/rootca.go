// Package rootca publishes the API server's CA as the config map kube-root-ca.crt in every namespace, where pods'
// projected service account volumes take it from.
package rootca

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const (
	mapName     = "kube-root-ca.crt"
	bundleKey   = "ca.crt"
	description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
	workers     = 5
)

// Controller is the root CA certificate publisher.
type Controller struct {
	env        *controller.Env
	bundle     string
	sources    controller.Sources
	namespaces corelisters.NamespaceLister
	maps       cache.SharedIndexInformer
	queue      *controller.Queue[string]
}

// New makes the publisher of a PEM bundle.
func New(env *controller.Env, bundle []byte) (controller.Controller, error) {
	namespaces := env.Informers.Core().V1().Namespaces()
	c := &Controller{env: env, bundle: string(bundle), namespaces: namespaces.Lister()}
	// Only the published maps: all config maps of a cluster would be much to hold for one of each namespace.
	c.maps = coreinformers.NewFilteredConfigMapInformer(env.Reader, metav1.NamespaceAll, 0, cache.Indexers{}, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, mapName).String()
	})
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, namespaces.Informer(), controller.Handlers[*corev1.Namespace]{
		Add:    func(namespace *corev1.Namespace) { c.queue.Add(namespace.Name) },
		Update: func(_, namespace *corev1.Namespace) { c.queue.Add(namespace.Name) },
	})
	changed := func(published *corev1.ConfigMap) { c.queue.Add(published.Namespace) }
	controller.Watch(&c.sources, c.maps, controller.Handlers[*corev1.ConfigMap]{
		Update: func(_, published *corev1.ConfigMap) { changed(published) }, Delete: changed,
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "root-ca-certificate-publisher-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() { defer close(stopped); c.maps.RunWithContext(ctx) }()
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, workers)
	}
	<-stopped
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
	wanted := map[string]string{bundleKey: c.bundle}
	client := c.env.Client.CoreV1().ConfigMaps(name)
	obj, exists, err := c.maps.GetIndexer().GetByKey(name + "/" + mapName)
	if err != nil {
		return err
	}
	if !exists {
		_, err = client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: mapName, Annotations: map[string]string{"kubernetes.io/description": description}},
			Data:       wanted,
		}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return err
	}
	published := obj.(*corev1.ConfigMap)
	if maps.Equal(published.Data, wanted) && published.Annotations["kubernetes.io/description"] == description {
		return nil
	}
	restored := published.DeepCopy()
	restored.Data = wanted
	if restored.Annotations == nil {
		restored.Annotations = map[string]string{}
	}
	restored.Annotations["kubernetes.io/description"] = description
	_, err = client.Update(ctx, restored, metav1.UpdateOptions{})
	return err
}
