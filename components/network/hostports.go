package network

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/network/hostport"
)

// podsOn lists and watches the pods of one node.
func podsOn(client kubernetes.Interface, node string) cache.ListerWatcher {
	pods := client.CoreV1().Pods(metav1.NamespaceAll)
	own := fields.OneTermEqualSelector("spec.nodeName", node).String()
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = own
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = own
			return pods.Watch(ctx, o)
		},
	}, client)
}

// leadPorts keeps the node's ports leading to the pods that ask for them.
func (a *agent) leadPorts(ctx context.Context) {
	var table hostport.Table
	select {
	case ranges := <-a.settled:
		table = hostport.Table{Bridge: a.config.Bridge, Pods: ranges}
	case <-ctx.Done():
		return
	}
	changed := make(chan struct{}, 1)
	tell := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: a.pods, ObjectType: &corev1.Pod{}, Transform: stripPod,
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, now any) { tell(now) }, DeleteFunc: tell},
	})
	go informer.Run(ctx.Done())
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		var pods []*corev1.Pod
		for _, object := range store.List() {
			pods = append(pods, object.(*corev1.Pod))
		}
		if err := table.Apply(hostport.Of(pods)); err != nil {
			klog.ErrorS(err, "Leading the node's ports to its pods")
		}
	}
}

// stripPod keeps what host ports hang on.
func stripPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	ports := func(containers []corev1.Container) []corev1.Container {
		var out []corev1.Container
		for _, c := range containers {
			if len(c.Ports) > 0 {
				out = append(out, corev1.Container{Name: c.Name, Ports: c.Ports})
			}
		}
		return out
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			ResourceVersion: pod.ResourceVersion, CreationTimestamp: pod.CreationTimestamp,
		},
		Spec: corev1.PodSpec{
			HostNetwork: pod.Spec.HostNetwork, InitContainers: ports(pod.Spec.InitContainers), Containers: ports(pod.Spec.Containers),
		},
		Status: corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs},
	}, nil
}
