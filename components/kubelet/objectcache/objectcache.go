// Package objectcache holds the config maps and secrets that the pods of this node
// refer to. Each is watched for as long as a pod needs it, so readers never wait for
// the API server twice and learn of changes at once.
package objectcache

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// Kind says which of the two resources a Ref is about.
type Kind string

// The resources that are cached.
const (
	ConfigMaps Kind = "configmaps"
	Secrets    Kind = "secrets"
)

// Ref names one object.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

// Cache is the set of objects.
type Cache struct {
	client  kubernetes.Interface
	changed func(ref Ref, pods []types.UID)

	mu      sync.Mutex
	entries map[Ref]*entry
	holds   map[types.UID]map[Ref]bool
}

// entry is one object and its watch.
type entry struct {
	ref     Ref
	cancel  context.CancelFunc
	holders map[types.UID]bool

	mu     sync.Mutex
	known  chan struct{} // closed once object or err was learnt
	object runtime.Object
	err    error
}

// New returns an empty cache. changed, which must not block, is called with the pods
// that hold an object each time it changes.
func New(client kubernetes.Interface, changed func(ref Ref, pods []types.UID)) *Cache {
	return &Cache{client: client, changed: changed, entries: map[Ref]*entry{}, holds: map[types.UID]map[Ref]bool{}}
}

// Hold makes the objects that a pod refers to available and lets go of those it
// held before and no longer needs. It does not wait.
func (c *Cache) Hold(pod types.UID, refs []Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, wanted := c.holds[pod], make(map[Ref]bool, len(refs))
	for _, ref := range refs {
		wanted[ref] = true
		e := c.entries[ref]
		if e == nil {
			ctx, cancel := context.WithCancel(context.Background())
			e = &entry{ref: ref, cancel: cancel, holders: map[types.UID]bool{}, known: make(chan struct{})}
			c.entries[ref] = e
			go c.follow(ctx, e)
		}
		e.holders[pod] = true
	}
	for ref := range before {
		if !wanted[ref] {
			c.release(pod, ref)
		}
	}
	if len(wanted) == 0 {
		delete(c.holds, pod)
		return
	}
	c.holds[pod] = wanted
}

// Release lets go of all that a pod holds.
func (c *Cache) Release(pod types.UID) { c.Hold(pod, nil) }

func (c *Cache) release(pod types.UID, ref Ref) {
	e := c.entries[ref]
	if e == nil {
		return
	}
	delete(e.holders, pod)
	if len(e.holders) == 0 {
		e.cancel()
		delete(c.entries, ref)
	}
}

// ConfigMap returns a config map that a pod holds.
func (c *Cache) ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error) {
	object, err := c.get(ctx, Ref{ConfigMaps, namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*v1.ConfigMap), nil
}

// Secret returns a secret that a pod holds.
func (c *Cache) Secret(ctx context.Context, namespace, name string) (*v1.Secret, error) {
	object, err := c.get(ctx, Ref{Secrets, namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*v1.Secret), nil
}

func (c *Cache) get(ctx context.Context, ref Ref) (runtime.Object, error) {
	c.mu.Lock()
	e := c.entries[ref]
	c.mu.Unlock()
	if e == nil {
		return nil, fmt.Errorf("object %q/%q not registered", ref.Namespace, ref.Name)
	}
	select {
	case <-e.known:
	case <-ctx.Done():
		return nil, fmt.Errorf("failed to sync %s cache: %w", ref.Kind, ctx.Err())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	return e.object, nil
}

// follow keeps an entry equal to the API server's object.
func (c *Cache) follow(ctx context.Context, e *entry) {
	const slowest = 5 * time.Second
	delay := 20 * time.Millisecond
	for ctx.Err() == nil {
		version, err := c.load(ctx, e)
		if err == nil {
			delay = 20 * time.Millisecond
			if e.immutable() {
				return
			}
			c.watch(ctx, e, version)
			continue
		}
		// The node authoriser learns of a new pod no sooner than this kubelet, so a
		// first refusal is not yet an answer.
		if ctx.Err() == nil && (!apierrors.IsForbidden(err) || delay > 500*time.Millisecond) {
			c.set(e, nil, err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, slowest)
	}
}

func (c *Cache) load(ctx context.Context, e *entry) (version string, err error) {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", e.ref.Name).String()}
	var found runtime.Object
	switch e.ref.Kind {
	case ConfigMaps:
		list, err := c.client.CoreV1().ConfigMaps(e.ref.Namespace).List(ctx, options)
		if err != nil {
			return "", err
		}
		version = list.ResourceVersion
		if len(list.Items) > 0 {
			found = &list.Items[0]
		}
	case Secrets:
		list, err := c.client.CoreV1().Secrets(e.ref.Namespace).List(ctx, options)
		if err != nil {
			return "", err
		}
		version = list.ResourceVersion
		if len(list.Items) > 0 {
			found = &list.Items[0]
		}
	}
	if found == nil {
		c.set(e, nil, e.notFound())
	} else {
		c.set(e, found, nil)
	}
	return version, nil
}

func (c *Cache) watch(ctx context.Context, e *entry, version string) {
	options := metav1.ListOptions{
		FieldSelector:       fields.OneTermEqualSelector("metadata.name", e.ref.Name).String(),
		ResourceVersion:     version,
		AllowWatchBookmarks: true,
	}
	var w watch.Interface
	var err error
	switch e.ref.Kind {
	case ConfigMaps:
		w, err = c.client.CoreV1().ConfigMaps(e.ref.Namespace).Watch(ctx, options)
	case Secrets:
		w, err = c.client.CoreV1().Secrets(e.ref.Namespace).Watch(ctx, options)
	}
	if err != nil {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
		return
	}
	defer w.Stop()
	for {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				return
			}
			switch event.Type {
			case watch.Added, watch.Modified:
				c.set(e, event.Object, nil)
				if e.immutable() {
					<-ctx.Done()
					return
				}
			case watch.Deleted:
				c.set(e, nil, e.notFound())
			case watch.Error:
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// set takes in what was learnt and tells the holders if that is new.
func (c *Cache) set(e *entry, object runtime.Object, err error) {
	e.mu.Lock()
	same := version(e.object) == version(object) && (e.err == nil) == (err == nil)
	if err != nil && !apierrors.IsNotFound(err) && e.object != nil {
		// The API server is away: what was known last is the best answer.
		e.mu.Unlock()
		return
	}
	e.object, e.err = object, err
	first := false
	select {
	case <-e.known:
	default:
		close(e.known)
		first = true
	}
	e.mu.Unlock()
	if first || same {
		return
	}
	c.mu.Lock()
	holders := make([]types.UID, 0, len(e.holders))
	for uid := range e.holders {
		holders = append(holders, uid)
	}
	c.mu.Unlock()
	c.changed(e.ref, holders)
}

func (e *entry) notFound() error {
	// Users know these errors by the resource in the singular.
	return apierrors.NewNotFound(schema.GroupResource{Resource: strings.TrimSuffix(string(e.ref.Kind), "s")}, e.ref.Name)
}

func (e *entry) immutable() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch o := e.object.(type) {
	case *v1.ConfigMap:
		return o.Immutable != nil && *o.Immutable
	case *v1.Secret:
		return o.Immutable != nil && *o.Immutable
	}
	return false
}

func version(object runtime.Object) string {
	if m, ok := object.(metav1.Object); ok && m != nil {
		return string(m.GetUID()) + "/" + m.GetResourceVersion()
	}
	return ""
}
