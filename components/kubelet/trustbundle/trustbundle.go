// Package trustbundle gives pods the trust anchors of ClusterTrustBundles.
// See https://kubernetes.io/docs/concepts/storage/projected-volumes/#clustertrustbundle.
package trustbundle

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// patience is how long a pod's volume waits for the first list of bundles.
const patience = 10 * time.Second

// Bundles are the cluster's. They are watched from when a pod first wants one.
type Bundles struct {
	ctx     context.Context
	client  kubernetes.Interface
	changed func(types.UID)
	// seed makes the order of anchors differ from one kubelet to the next, so that
	// nobody comes to rely on it, while it stays the same in this one.
	seed [16]byte

	begin  sync.Once
	synced chan struct{}
	store  cache.Store

	mu    sync.Mutex
	users map[types.UID]bool
}

// New returns the bundles that client sees, watched until ctx ends. changed is called,
// and must not block, for the pods that have asked when a bundle changes.
func New(ctx context.Context, client kubernetes.Interface, changed func(types.UID)) *Bundles {
	b := &Bundles{ctx: ctx, client: client, changed: changed, synced: make(chan struct{}), users: map[types.UID]bool{}}
	_, _ = rand.Read(b.seed[:])
	return b
}

func (b *Bundles) watch() {
	bundles := b.client.CertificatesV1().ClusterTrustBundles()
	tell := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for uid := range b.users {
			b.changed(uid)
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ObjectType: &certificatesv1.ClusterTrustBundle{},
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return bundles.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return bundles.Watch(ctx, o)
			},
		}, b.client),
		Handler: cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(_ any, initial bool) {
				if !initial {
					tell()
				}
			},
			UpdateFunc: func(_, _ any) { tell() },
			DeleteFunc: func(any) { tell() },
		},
	})
	b.store = store
	go informer.Run(b.ctx.Done())
	go func() {
		if cache.WaitForCacheSync(b.ctx.Done(), informer.HasSynced) {
			close(b.synced)
		}
	}()
}

// Anchors are the certificates that a pod's projection selects, each once, as PEM.
func (b *Bundles) Anchors(ctx context.Context, pod types.UID, projection *v1.ClusterTrustBundleProjection) ([]byte, error) {
	b.begin.Do(b.watch)
	b.mu.Lock()
	b.users[pod] = true
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-b.synced:
	case <-ctx.Done():
		return nil, errors.New("ClusterTrustBundle informer has not yet synced")
	}
	chosen, err := b.choose(projection)
	if err != nil {
		return nil, err
	}
	return b.merge(chosen), nil
}

func (b *Bundles) choose(projection *v1.ClusterTrustBundleProjection) ([]*certificatesv1.ClusterTrustBundle, error) {
	optional := projection.Optional != nil && *projection.Optional
	switch {
	case projection.Name != nil:
		found, ok, err := b.store.GetByKey(*projection.Name)
		switch {
		case err != nil:
			return nil, err
		case ok:
			return []*certificatesv1.ClusterTrustBundle{found.(*certificatesv1.ClusterTrustBundle)}, nil
		case optional:
			return nil, nil
		}
		return nil, fmt.Errorf("while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io %q not found", *projection.Name)
	case projection.SignerName == nil:
		return nil, errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	// Without a selector nothing matches, with an empty one everything.
	selector, err := metav1.LabelSelectorAsSelector(projection.LabelSelector)
	if err != nil {
		return nil, fmt.Errorf("while parsing label selector: %w", err)
	}
	var chosen []*certificatesv1.ClusterTrustBundle
	for _, object := range b.store.List() {
		bundle := object.(*certificatesv1.ClusterTrustBundle)
		if bundle.Spec.SignerName == *projection.SignerName && selector.Matches(labels.Set(bundle.Labels)) {
			chosen = append(chosen, bundle)
		}
	}
	if len(chosen) == 0 && !optional {
		return nil, errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")
	}
	return chosen, nil
}

// merge joins bundles, without what stands between their certificates.
func (b *Bundles) merge(bundles []*certificatesv1.ClusterTrustBundle) []byte {
	type anchor struct {
		rank [sha256.Size]byte
		der  []byte
	}
	var anchors []anchor
	for _, bundle := range bundles {
		for block, rest := pem.Decode([]byte(bundle.Spec.TrustBundle)); block != nil; block, rest = pem.Decode(rest) {
			anchors = append(anchors, anchor{sha256.Sum256(append(b.seed[:], block.Bytes...)), block.Bytes})
		}
	}
	slices.SortFunc(anchors, func(x, y anchor) int { return slices.CompareFunc(x.rank[:], y.rank[:], cmp.Compare[byte]) })
	anchors = slices.CompactFunc(anchors, func(x, y anchor) bool { return x.rank == y.rank })
	out := []byte{}
	for _, a := range anchors {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der})...)
	}
	return out
}

// Forget drops a pod.
func (b *Bundles) Forget(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.users, pod)
}
