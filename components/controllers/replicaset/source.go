package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
)

// Source is where a Loop reads and writes the sets it scales. Everything is expressed as ReplicaSets, whatever the kind.
type Source interface {
	Kind() schema.GroupVersionKind
	// Watch calls changed for every set that appeared, changed or went.
	Watch(sources *controller.Sources, handlers controller.Handlers[*appsv1.ReplicaSet])
	// Get reads the cache.
	Get(key controller.Key) (*appsv1.ReplicaSet, error)
	// List reads the cache.
	List(namespace string) ([]*appsv1.ReplicaSet, error)
	// Live reads the API server.
	Live(ctx context.Context, key controller.Key) (metav1.Object, error)
	// UpdateStatus writes set's status; a conflict is an error.
	UpdateStatus(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error)
	// CountsTerminating tells whether the kind's status has a count of pods on their way out.
	CountsTerminating() bool
	// Object is what events and owner references are about.
	Object(set *appsv1.ReplicaSet) podcontrol.Owner
}

// native is the source of real ReplicaSets.
type native struct {
	env *controller.Env
}

func (n native) Kind() schema.GroupVersionKind {
	return appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
}

func (n native) Watch(sources *controller.Sources, handlers controller.Handlers[*appsv1.ReplicaSet]) {
	controller.Watch(sources, n.informer(), handlers)
}

func (n native) informer() cache.SharedIndexInformer {
	return n.env.Informers.Apps().V1().ReplicaSets().Informer()
}

func (n native) Get(key controller.Key) (*appsv1.ReplicaSet, error) {
	obj, exists, err := n.informer().GetIndexer().GetByKey(key.String())
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, errors.NewNotFound(appsv1.Resource("replicasets"), key.Name)
	}
	return obj.(*appsv1.ReplicaSet), nil
}

func (n native) List(namespace string) ([]*appsv1.ReplicaSet, error) {
	return n.env.Informers.Apps().V1().ReplicaSets().Lister().ReplicaSets(namespace).List(labels.Everything())
}

func (n native) Live(ctx context.Context, key controller.Key) (metav1.Object, error) {
	return n.env.Client.AppsV1().ReplicaSets(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}

func (n native) UpdateStatus(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
	return n.env.Client.AppsV1().ReplicaSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{})
}

func (n native) CountsTerminating() bool { return true }

func (n native) Object(set *appsv1.ReplicaSet) podcontrol.Owner { return set }
