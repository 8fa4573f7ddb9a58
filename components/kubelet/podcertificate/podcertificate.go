// Package podcertificate gets pods keys and certificates: the kubelet makes the key,
// asks for the certificate by a PodCertificateRequest, and does so again in time.
// See https://kubernetes.io/docs/concepts/storage/projected-volumes/#podcertificate.
package podcertificate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// patience is how long a volume waits for its first certificate before it says so.
	patience = 2 * time.Second
	// lost is when a request that the watch has not shown is taken for deleted.
	lost = 10 * time.Minute
	// overdue is how long after its time a renewal is worth a warning.
	overdue = 10 * time.Minute
	// spread keeps certificates that were issued together from being renewed together.
	spread = 5 * time.Minute
	// again is how soon a renewal that could not be asked for is tried again.
	again = 30 * time.Second
)

// errWaiting says that nobody has answered the request yet.
var errWaiting = errors.New("credential bundle is not issued yet")

// Config is what certificates are got with.
type Config struct {
	Client kubernetes.Interface
	// Node is this node; nil while it is not known.
	Node func() *v1.Node
	// Changed is called, and must not block, when a pod has another certificate.
	Changed func(types.UID)
	Event   func(pod *v1.Pod, eventType, reason, message string)
}

// Issuer gets certificates. Requests are watched from when a pod first wants one.
type Issuer struct {
	c   Config
	ctx context.Context
	now func() time.Time

	begin  sync.Once
	synced chan struct{}
	store  cache.Store

	mu sync.Mutex
	// credentials are kept in memory alone: a kubelet that starts asks for new ones.
	credentials map[place]*credential
	// news is closed and replaced when anything is answered.
	news chan struct{}
}

// place is one source of one volume of one pod.
type place struct {
	pod    types.UID
	volume string
	source int
}

// credential is what is known about one place. It is guarded by the issuer's mutex,
// but for asking, which lets one at a time make requests.
type credential struct {
	asking sync.Mutex

	key, chain            []byte
	refreshAt, expires    time.Time
	saidOverdue, saidOver bool
	// request is the one that has no answer yet, wanted the key that it is about.
	request types.NamespacedName
	asked   time.Time
	wanted  []byte
	refused error
}

// New returns an issuer that watches until ctx ends.
func New(ctx context.Context, c Config) *Issuer {
	return &Issuer{
		c: c, ctx: ctx, now: time.Now,
		synced: make(chan struct{}), credentials: map[place]*credential{}, news: make(chan struct{}),
	}
}

func (i *Issuer) watch() {
	requests := i.c.Client.CertificatesV1().PodCertificateRequests(metav1.NamespaceAll)
	ours := fields.OneTermEqualSelector("spec.nodeName", i.c.Node().Name).String()
	changed := func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		r, ok := object.(*certificatesv1.PodCertificateRequest)
		if !ok {
			return
		}
		i.mu.Lock()
		close(i.news)
		i.news = make(chan struct{})
		i.mu.Unlock()
		i.c.Changed(r.Spec.PodUID)
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ObjectType: &certificatesv1.PodCertificateRequest{},
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = ours
				return requests.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = ours
				return requests.Watch(ctx, o)
			},
		}, i.c.Client),
		Handler: cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(object any, _ bool) { answer(object, changed) }, UpdateFunc: func(_, object any) { answer(object, changed) },
			DeleteFunc: func(object any) {
				i.withdrawn(object)
				changed(object)
			},
		},
	})
	i.store = store
	go informer.Run(i.ctx.Done())
	go func() {
		if cache.WaitForCacheSync(i.ctx.Done(), informer.HasSynced) {
			close(i.synced)
		}
	}()
}

// withdrawn takes in that somebody deleted a request before it was answered.
func (i *Issuer) withdrawn(object any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.credentials {
		if c.request.String() == key {
			c.wanted = nil
		}
	}
}

// answer passes on requests that have an answer; others are no news.
func answer(object any, tell func(any)) {
	if r, ok := object.(*certificatesv1.PodCertificateRequest); ok && len(r.Status.Conditions) > 0 {
		tell(object)
	}
}

// Bundle is a key and the certificates for it.
type Bundle struct {
	Key, Chain []byte
	// RenewAt is when to ask for the bundle again.
	RenewAt time.Time
}

// Get returns what a source of a pod's volume should hold. The first time it waits a while for
// somebody to issue the certificate; a renewal is not waited for.
func (i *Issuer) Get(ctx context.Context, pod *v1.Pod, volume string, source int, projection *v1.PodCertificateProjection) (Bundle, error) {
	if i.c.Node() == nil {
		return Bundle{}, errors.New("this node is not known to the API server yet")
	}
	i.begin.Do(i.watch)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-i.synced:
	case <-ctx.Done():
		return Bundle{}, errors.New("PodCertificateRequest informer has not yet synced")
	}
	where := place{pod.UID, volume, source}
	i.mu.Lock()
	c := i.credentials[where]
	if c == nil {
		c = &credential{}
		i.credentials[where] = c
	}
	i.mu.Unlock()
	for {
		i.mu.Lock()
		news := i.news
		err := i.settle(pod, c)
		bundle, needed := i.state(c)
		i.mu.Unlock()
		switch {
		case err != nil:
			return Bundle{}, err
		case needed:
			if err := i.ask(ctx, pod, projection, c); err != nil {
				if bundle.Key == nil {
					return Bundle{}, err
				}
				i.warn(pod, c)
				bundle.RenewAt = i.now().Add(again)
				return bundle, nil
			}
			continue
		case bundle.Key != nil:
			i.warn(pod, c)
			return bundle, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Bundle{}, errWaiting
		}
	}
}

// state is what there is, and whether a request is to be made.
func (i *Issuer) state(c *credential) (bundle Bundle, needed bool) {
	bundle = Bundle{Key: c.key, Chain: c.chain, RenewAt: c.refreshAt}
	if c.wanted != nil {
		// The answer is waited for by the watch; this is for the case that it never comes.
		bundle.RenewAt = i.now().Add(lost)
		return bundle, false
	}
	return bundle, c.key == nil || !i.now().Before(c.refreshAt)
}

// settle takes in the answer to the open request, if there is one.
func (i *Issuer) settle(pod *v1.Pod, c *credential) error {
	if c.refused != nil || c.wanted == nil {
		return c.refused
	}
	found, known, err := i.store.GetByKey(c.request.String())
	if err != nil {
		return err
	}
	if !known {
		if i.now().After(c.asked.Add(lost)) {
			c.wanted = nil
		}
		return nil
	}
	request := found.(*certificatesv1.PodCertificateRequest)
	for _, condition := range request.Status.Conditions {
		switch condition.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			c.key, c.chain, c.wanted = c.wanted, certificatesOf(request.Status.CertificateChain), nil
			c.refreshAt = request.Status.BeginRefreshAt.Add(rand.N(spread))
			c.expires = request.Status.NotAfter.Time
			c.saidOverdue, c.saidOver = false, false
		case certificatesv1.PodCertificateRequestConditionTypeDenied:
			c.refused = i.refusal(pod, "denied", c.request, condition)
		case certificatesv1.PodCertificateRequestConditionTypeFailed:
			c.refused = i.refusal(pod, "failed", c.request, condition)
		}
	}
	return c.refused
}

func (i *Issuer) refusal(pod *v1.Pod, how string, request types.NamespacedName, condition metav1.Condition) error {
	said := "was denied"
	if how == "failed" {
		said = "failed"
	}
	i.c.Event(pod, v1.EventTypeWarning, condition.Type, fmt.Sprintf("PodCertificateRequest %s %s, reason=%q, message=%q", request, said, condition.Reason, condition.Message))
	return fmt.Errorf("PodCertificateRequest was permanently %s: reason=%q message=%q", how, condition.Reason, condition.Message)
}

// ask makes a key and a request for it.
func (i *Issuer) ask(ctx context.Context, pod *v1.Pod, projection *v1.PodCertificateProjection, c *credential) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	i.mu.Lock()
	asked := c.wanted != nil
	i.mu.Unlock()
	if asked {
		return nil
	}
	account, err := i.c.Client.CoreV1().ServiceAccounts(pod.Namespace).Get(ctx, pod.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("while fetching service account: %w", err)
	}
	key, stub, err := newKey(projection.KeyType)
	if err != nil {
		return fmt.Errorf("while generating keypair: %w", err)
	}
	node := i.c.Node()
	request, err := i.c.Client.CertificatesV1().PodCertificateRequests(pod.Namespace).Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: projection.SignerName,
			PodName:    pod.Name, PodUID: pod.UID,
			ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(node.Name), NodeUID: node.UID,
			MaxExpirationSeconds: projection.MaxExpirationSeconds, StubPKCS10Request: stub,
			UnverifiedUserAnnotations: projection.UserAnnotations,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("while creating PodCertificateRequest: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	c.wanted, c.asked = key, i.now()
	c.request = types.NamespacedName{Namespace: request.Namespace, Name: request.Name}
	return nil
}

// warn says once that a renewal is late, and once that the certificate is no good any more.
func (i *Issuer) warn(pod *v1.Pod, c *credential) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if !c.saidOverdue && now.After(c.refreshAt.Add(overdue)) {
		c.saidOverdue = true
		i.c.Event(pod, v1.EventTypeWarning, "CertificateOverdueForRefresh", "PodCertificate refresh overdue")
	}
	if !c.saidOver && now.After(c.expires) {
		c.saidOver = true
		i.c.Event(pod, v1.EventTypeWarning, "CertificateExpired", "PodCertificate expired")
	}
}

// Forget drops a pod.
func (i *Issuer) Forget(pod types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for where := range i.credentials {
		if where.pod == pod {
			delete(i.credentials, where)
		}
	}
}
