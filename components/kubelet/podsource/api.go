package podsource

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// FromAPI watches the pods that are assigned to a node until ctx ends.
func FromAPI(ctx context.Context, client kubernetes.Interface, node string, sink Sink) {
	selector := fields.OneTermEqualSelector("spec.nodeName", node).String()
	pods := client.CoreV1().Pods(metav1.NamespaceAll)
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			return pods.Watch(ctx, options)
		},
	}
	handler := cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(object any, _ bool) { sink.Set(object.(*v1.Pod)) },
		UpdateFunc: func(_, object any) { sink.Set(object.(*v1.Pod)) },
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			if pod, ok := object.(*v1.Pod); ok {
				sink.Remove(pod.UID)
			}
		},
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source,
		ObjectType:    &v1.Pod{},
		Handler:       handler,
		Transform: func(object any) (any, error) {
			if pod, ok := object.(*v1.Pod); ok {
				pod.ManagedFields = nil
			}
			return object, nil
		},
	})
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			sink.Complete(API)
		}
	}()
	informer.Run(ctx.Done())
}
