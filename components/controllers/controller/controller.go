package controller

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// Controller is one control loop.
//
// A controller asks for its informers while it is constructed, so that the manager starts exactly the informers of the
// controllers that are on. Run returns nil once ctx is cancelled and all of the controller's goroutines have ended.
type Controller interface {
	// Name is the controller's name in --controllers, in logs and in metrics.
	Name() string
	// Run waits for the controller's caches and works until ctx is cancelled.
	Run(ctx context.Context) error
}

// Env is what one controller is built from. Clients carry the controller's own identity; informers are shared by all.
type Env struct {
	// Client is the typed client, with the controller's own user agent (and credentials, where those are in use).
	Client kubernetes.Interface
	// Reader is the manager's own client, for informers that are not shared; a controller's own account may watch little.
	Reader kubernetes.Interface
	// Metadata reads and deletes objects of any type by their metadata alone.
	Metadata metadata.Interface
	// Discovery lists what the API server serves; never cached.
	Discovery discovery.DiscoveryInterface
	// Mapper maps kinds to resources, those of custom resources included.
	Mapper meta.ResettableRESTMapper
	// Scales reads the scale subresource of any type.
	Scales scale.ScalesGetter
	// Informers are the manager's shared informers.
	Informers informers.SharedInformerFactory
	// Recorder writes events in the controller's name.
	Recorder record.EventRecorder
	// Clock is the time.
	Clock clock.WithTickerAndDelayedExecution
}

// SharedResources tells which resources the manager already watches with typed informers. It is complete once the
// manager has started its informers, which is before any controller runs.
func (e *Env) SharedResources() map[schema.GroupVersionResource]bool {
	stopped := make(chan struct{})
	close(stopped)
	shared := map[schema.GroupVersionResource]bool{}
	for informed := range e.Informers.WaitForCacheSync(stopped) {
		object, ok := reflect.New(informed.Elem()).Interface().(runtime.Object)
		if !ok {
			continue
		}
		kinds, _, err := scheme.Scheme.ObjectKinds(object)
		if err != nil {
			continue
		}
		for _, kind := range kinds {
			plural, _ := meta.UnsafeGuessKindToResource(kind)
			shared[plural] = true
		}
	}
	return shared
}
