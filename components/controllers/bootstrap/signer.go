package bootstrap

import (
	"context"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"
	"k8s.io/cluster-bootstrap/util/secrets"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// signer signs the kubeconfig in kube-public's cluster-info with each token: a node that has only a token reads it as
// nobody in particular, and believes it for the signature.
type signer struct {
	env     *controller.Env
	sources controller.Sources
	tokens  cache.SharedIndexInformer
	info    cache.SharedIndexInformer
	queue   *controller.Queue[controller.Key]
}

// NewSigner makes the bootstrap signer.
func NewSigner(env *controller.Env) (controller.Controller, error) {
	info := controller.Key{Namespace: metav1.NamespacePublic, Name: api.ConfigMapClusterInfo}
	s := &signer{env: env, tokens: newTokens(env)}
	s.info = coreinformers.NewFilteredConfigMapInformer(env.Client, info.Namespace, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, info.Name).String()
	})
	s.queue = controller.NewQueue(s.Name(), env.Clock, controller.DefaultBackoff, s.sync)
	controller.Watch(&s.sources, s.tokens, controller.Any(func(*corev1.Secret) { s.queue.Add(info) }))
	controller.Watch(&s.sources, s.info, controller.Any(func(*corev1.ConfigMap) { s.queue.Add(info) }))
	return s, nil
}

// Name implements controller.Controller.
func (s *signer) Name() string { return "bootstrap-signer-controller" }

// Run implements controller.Controller.
func (s *signer) Run(ctx context.Context) error {
	stopped := make(chan struct{}, 2)
	for _, informer := range []cache.SharedIndexInformer{s.tokens, s.info} {
		go func() { informer.RunWithContext(ctx); stopped <- struct{}{} }()
	}
	if s.sources.WaitForSync(ctx) {
		s.queue.Run(ctx, 1)
	}
	<-stopped
	<-stopped
	return nil
}

func (s *signer) sync(ctx context.Context, key controller.Key) error {
	info, err := corelisters.NewConfigMapLister(s.info.GetIndexer()).ConfigMaps(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	tokens, err := corelisters.NewSecretLister(s.tokens.GetIndexer()).List(labels.Everything())
	if err != nil {
		return err
	}
	content, given := info.Data[api.KubeConfigKey]
	if !given {
		return nil
	}
	now := s.env.Clock.Now()
	data := maps.Clone(info.Data)
	maps.DeleteFunc(data, func(name, _ string) bool { return strings.HasPrefix(name, api.JWSSignatureKeyPrefix) })
	next := time.Duration(0)
	for _, token := range tokens {
		id, secret, ok := signing(token, now)
		if !ok {
			continue
		}
		if data[api.JWSSignatureKeyPrefix+id], err = jws.ComputeDetachedSignature(content, id, secret); err != nil {
			return err
		}
		if left, _ := secrets.GetExpiration(token, now); left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	if next > 0 {
		// What has expired vouches no longer, also where nobody deletes it.
		s.queue.AddAfter(key, next)
	}
	if maps.Equal(data, info.Data) {
		return nil
	}
	signed := info.DeepCopy()
	signed.Data = data
	_, err = s.env.Client.CoreV1().ConfigMaps(key.Namespace).Update(ctx, signed, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// signing reads a token that may sign; its name and its content must agree on the id.
func signing(token *corev1.Secret, now time.Time) (id, secret string, ok bool) {
	id, named := secrets.ParseName(token.Name)
	secret = secrets.GetData(token, api.BootstrapTokenSecretKey)
	return id, secret, named && secret != "" && id == secrets.GetData(token, api.BootstrapTokenIDKey) &&
		secrets.GetData(token, api.BootstrapTokenUsageSigningKey) == "true" && !secrets.HasExpired(token, now)
}
