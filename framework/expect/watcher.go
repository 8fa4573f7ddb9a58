package expect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/gomega/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Time limits, before scaling.
const (
	// Short is for what takes one step of one component.
	Short = 10 * time.Second
	// Medium is for what takes several components, such as a pod becoming ready.
	Medium = 30 * time.Second
	// Long is for what takes many such steps, such as a rollout.
	Long = 2 * time.Minute
)

// ScaleVariable names the environment variable that every time limit is multiplied by.
const ScaleVariable = "PLUMB_TIMEOUT_SCALE"

// Scaled is a time limit for this machine.
func Scaled(limit time.Duration) time.Duration {
	factor, err := strconv.ParseFloat(os.Getenv(ScaleVariable), 64)
	if err != nil || factor <= 0 {
		return limit
	}
	return time.Duration(float64(limit) * factor)
}

// NewClient makes a client that can watch, for the types of a scheme; nil means
// all built-in types. Requests are not throttled.
func NewClient(config *rest.Config, types *runtime.Scheme) (client.WithWatch, error) {
	if types == nil {
		types = scheme.Scheme
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	return client.NewWithWatch(config, client.Options{Scheme: types})
}

// Watcher waits for what happens to objects.
type Watcher struct {
	client client.WithWatch
	limit  time.Duration
}

// NewWatcher waits through a client, up to Medium.
func NewWatcher(c client.WithWatch) Watcher { return Watcher{client: c, limit: Medium} }

// Within is the same watcher with another time limit, which is scaled.
func (w Watcher) Within(limit time.Duration) Watcher {
	w.limit = limit
	return w
}

// Client is what the watcher looks through.
func (w Watcher) Client() client.WithWatch { return w.client }

// Until follows the object that has obj's namespace and name until it satisfies
// the matcher; obj then holds that state. An object that does not exist (yet) does
// not satisfy any. The error holds what the matcher said of the last state seen.
func (w Watcher) Until(ctx context.Context, obj client.Object, matcher types.GomegaMatcher) error {
	return w.follow(ctx, obj, func(exists bool) (bool, string, error) {
		if !exists {
			return false, "it does not exist", nil
		}
		return judge(matcher, obj)
	})
}

// Gone follows the object until it does not exist, or one of the same name with
// another UID has taken its place.
func (w Watcher) Gone(ctx context.Context, obj client.Object) error {
	uid := obj.GetUID()
	return w.follow(ctx, obj, func(exists bool) (bool, string, error) {
		gone := !exists || (uid != "" && obj.GetUID() != uid)
		return gone, fmt.Sprintf("it still exists (deletionTimestamp %v, finalizers %v)", obj.GetDeletionTimestamp(), obj.GetFinalizers()), nil
	})
}

// Throughout follows the object for a while, which is scaled, and fails at the
// first state that does not satisfy the matcher.
func (w Watcher) Throughout(ctx context.Context, while time.Duration, obj client.Object, matcher types.GomegaMatcher) error {
	ctx, cancel := context.WithTimeout(ctx, Scaled(while))
	defer cancel()
	var broken error
	w.limit = 2 * while
	err := w.follow(ctx, obj, func(exists bool) (bool, string, error) {
		if !exists {
			broken = fmt.Errorf("%s does not exist", describe(obj))
			return true, "", nil
		}
		ok, why, err := judge(matcher, obj)
		if err == nil && !ok {
			broken = fmt.Errorf("%s: %s", describe(obj), why)
		}
		return !ok, why, err
	})
	if broken != nil {
		return broken
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// UntilList follows a collection until the list satisfies the matcher. The list
// is updated in place before each look; its items are in no particular order.
func (w Watcher) UntilList(ctx context.Context, list client.ObjectList, matcher types.GomegaMatcher, options ...client.ListOption) error {
	ctx, cancel := context.WithTimeout(ctx, Scaled(w.limit))
	defer cancel()
	why := "it was never seen"
	collection := newCollection(w.client, list, options)
	err := collection.follow(ctx, func(Change) (bool, error) {
		if err := collection.fill(list); err != nil {
			return false, err
		}
		ok, failure, err := judge(matcher, list)
		why = failure
		return ok, err
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("list of %T, after %s: %s: %w", list, Scaled(w.limit), why, ctx.Err())
	}
	return err
}

func judge(matcher types.GomegaMatcher, actual any) (ok bool, why string, err error) {
	if ok, err = matcher.Match(actual); err != nil || ok {
		return ok, "", err
	}
	return false, matcher.FailureMessage(actual), nil
}

// follow looks at the object at first and after every change of it.
func (w Watcher) follow(ctx context.Context, obj client.Object, look func(exists bool) (bool, string, error)) error {
	limit := Scaled(w.limit)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	list, err := w.listFor(obj)
	if err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(obj)
	options := []client.ListOption{
		client.InNamespace(key.Namespace),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector(metav1.ObjectNameField, key.Name)},
	}
	why := "it was never seen"
	collection := newCollection(w.client, list, options)
	err = collection.follow(ctx, func(Change) (bool, error) {
		current, exists := collection.objects[key]
		if exists {
			reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(current.DeepCopyObject()).Elem())
		}
		ok, failure, err := look(exists)
		why = failure
		return ok, err
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s, after %s: %s: %w", describe(obj), limit, why, ctx.Err())
	}
	return err
}

// listFor makes the empty list that belongs to an object's kind.
func (w Watcher) listFor(obj client.Object) (client.ObjectList, error) {
	kind, err := w.client.GroupVersionKindFor(obj)
	if err != nil {
		return nil, err
	}
	listKind := kind.GroupVersion().WithKind(kind.Kind + "List")
	if _, untyped := obj.(*unstructured.Unstructured); untyped {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(listKind)
		return list, nil
	}
	list, err := w.client.Scheme().New(listKind)
	if err != nil {
		return nil, err
	}
	typed, ok := list.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%T is not a list of objects", list)
	}
	return typed, nil
}

func describe(obj client.Object) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", obj), "*")
	return fmt.Sprintf("%s %s", name, client.ObjectKeyFromObject(obj))
}

// collection is what one list and watch sees.
type collection struct {
	client  client.WithWatch
	empty   client.ObjectList
	options []client.ListOption
	objects map[client.ObjectKey]client.Object
	version string
}

func newCollection(c client.WithWatch, list client.ObjectList, options []client.ListOption) *collection {
	empty := list.DeepCopyObject().(client.ObjectList)
	return &collection{client: c, empty: empty, options: options, objects: map[client.ObjectKey]client.Object{}}
}

// retryDelay is the pause before asking an API server again that did not answer.
const retryDelay = 50 * time.Millisecond

// follow lists, then watches, and calls look with an empty change after the list
// and with each change of the watch, until it returns true. An API server that
// goes away is awaited; a history that it no longer has is listed anew.
func (c *collection) follow(ctx context.Context, look func(Change) (bool, error)) error {
	for ctx.Err() == nil {
		var done bool
		err := c.list(ctx)
		if err == nil {
			if done, err = look(Change{}); done || err != nil {
				return err
			}
			done, err = c.watch(ctx, look)
		}
		if done {
			return err
		}
		if err != nil && !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryDelay):
		}
	}
	return ctx.Err()
}

// passing reports whether an error is that of a server that is away for a moment.
func passing(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return true // no answer at all
	}
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}

func (c *collection) list(ctx context.Context) error {
	list := c.empty.DeepCopyObject().(client.ObjectList)
	if err := c.client.List(ctx, list, c.options...); err != nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	clear(c.objects)
	for _, item := range items {
		if object, ok := item.(client.Object); ok {
			c.objects[client.ObjectKeyFromObject(object)] = object
		}
	}
	c.version = list.GetResourceVersion()
	return nil
}

// watch passes changes on until look is satisfied, or the watch breaks off and
// cannot be taken up where it was.
func (c *collection) watch(ctx context.Context, look func(Change) (bool, error)) (done bool, err error) {
	for ctx.Err() == nil {
		// A list's raw options carry what its typed options have no name for.
		raw := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: c.version, AllowWatchBookmarks: true}}
		watcher, err := c.client.Watch(ctx, c.empty.DeepCopyObject().(client.ObjectList), append(append([]client.ListOption{}, c.options...), raw)...)
		if err != nil {
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || !passing(err) {
				return false, err
			}
			select {
			case <-ctx.Done():
			case <-time.After(retryDelay):
			}
			continue
		}
		done, err = c.drain(ctx, watcher, look)
		watcher.Stop()
		if done || err != nil {
			return done, err
		}
	}
	return false, ctx.Err()
}

func (c *collection) drain(ctx context.Context, watcher watch.Interface, look func(Change) (bool, error)) (done bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case event, open := <-watcher.ResultChan():
			if !open {
				return false, nil
			}
			change, err := c.apply(event)
			if err != nil {
				return false, err
			}
			if change.Object == nil {
				continue
			}
			if done, err := look(change); done || err != nil {
				return true, err
			}
		}
	}
}

// apply takes an event into the collection. A bookmark is no change.
func (c *collection) apply(event watch.Event) (Change, error) {
	if event.Type == watch.Error {
		return Change{}, apierrors.FromObject(event.Object)
	}
	object, ok := event.Object.(client.Object)
	if !ok {
		return Change{}, fmt.Errorf("the watch sent a %T", event.Object)
	}
	c.version = object.GetResourceVersion()
	key := client.ObjectKeyFromObject(object)
	switch event.Type {
	case watch.Bookmark:
		return Change{}, nil
	case watch.Deleted:
		delete(c.objects, key)
	default:
		c.objects[key] = object
	}
	return Change{Type: event.Type, Object: object, Seen: time.Now()}, nil
}

// fill puts the collection's objects into a list.
func (c *collection) fill(list client.ObjectList) error {
	items := make([]runtime.Object, 0, len(c.objects))
	for _, object := range c.objects {
		items = append(items, object)
	}
	list.SetResourceVersion(c.version)
	return meta.SetList(list, items)
}

// kindOf names an object's kind for messages; the kind is not set on decoded objects.
func kindOf(c client.Client, obj runtime.Object) schema.GroupVersionKind {
	kind, err := c.GroupVersionKindFor(obj)
	if err != nil {
		return schema.GroupVersionKind{Kind: fmt.Sprintf("%T", obj)}
	}
	return kind
}
