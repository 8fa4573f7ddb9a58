package schedulerperf

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/plumbline/plumbline/framework/bench/workload"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	hollow "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

// liven gives a cluster somebody who keeps the workload's nodes alive. Heartbeats are as
// slow as they are for so many nodes of its own.
func liven(description *v1alpha1.Cluster, w *workload.Workload) {
	total := 0
	for _, o := range w.Operations {
		if nodes, ok := o.Action.(*workload.CreateNodes); ok {
			total += nodes.Count
		}
	}
	spec := hollow.New(total)
	spec.Default()
	spec.Nodes = nil // they are those that the workload creates
	description.Spec.Hollow = spec
}

// suit makes an object of a template fit for a cluster in which everything is on.
func (s *session) suit(object *unstructured.Unstructured) error {
	if !s.Profile.hollow || object.GetAPIVersion() != "v1" {
		return nil
	}
	switch object.GetKind() {
	case "Node":
		labels := object.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[hollow.Label] = ""
		object.SetLabels(labels)
	case "Pod":
		priority, found, err := unstructured.NestedInt64(object.Object, "spec", "priority")
		if err != nil || !found {
			return err
		}
		class, err := s.priorityClass(int32(priority))
		if err != nil {
			return err
		}
		return unstructured.SetNestedField(object.Object, class, "spec", "priorityClassName")
	}
	return nil
}

// suitPod does for a pod what suit does: admission takes a priority from nobody but a class.
func (s *session) suitPod(pod *corev1.Pod) error {
	if !s.Profile.hollow || pod.Spec.Priority == nil || pod.Spec.PriorityClassName != "" {
		return nil
	}
	var err error
	pod.Spec.PriorityClassName, err = s.priorityClass(*pod.Spec.Priority)
	return err
}

// priorityClass is the name of a class of that priority, which is made if it is not there.
func (s *session) priorityClass(value int32) (string, error) {
	name := fmt.Sprintf("priority-%d", value)
	if _, known := s.classes.Load(name); known {
		return name, nil
	}
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
	if _, err := s.client.SchedulingV1().PriorityClasses().Create(s.ctx, class, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("create priority class: %w", err)
	}
	s.classes.Store(name, true)
	return name, nil
}

// awaitNodes returns when that many nodes can take pods.
func (s *session) awaitNodes(count int) error {
	ready := map[string]bool{}
	nodes := s.client.CoreV1().Nodes()
	err := s.until(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return nodes.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return nodes.Watch(ctx, options)
		},
	}, &corev1.Node{}, func(event watch.Event) bool {
		if node, ok := event.Object.(*corev1.Node); ok {
			delete(ready, node.Name)
			if event.Type != watch.Deleted && takesPods(node) {
				ready[node.Name] = true
			}
		}
		return len(ready) >= count
	})
	if err != nil {
		return fmt.Errorf("%d of %d nodes are Ready and without taints: %w", len(ready), count, err)
	}
	return nil
}

// takesPods reports whether a node is Ready and the controller of its life has seen so.
func takesPods(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitAccount returns when pods may be created in a namespace: not before it has a
// service account.
func (s *session) awaitAccount(namespace string) error {
	const account = "default"
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, account).String()
	accounts := s.client.CoreV1().ServiceAccounts(namespace)
	err := s.until(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return accounts.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return accounts.Watch(ctx, options)
		},
	}, &corev1.ServiceAccount{}, func(event watch.Event) bool {
		there, ok := event.Object.(*corev1.ServiceAccount)
		return ok && there.Name == account
	})
	if err != nil {
		return fmt.Errorf("namespace %s has no service account %s: %w", namespace, account, err)
	}
	return nil
}

// until lists and watches until something is as it should be, at most as long as
// patience lasts.
func (s *session) until(what cache.ListerWatcher, kind runtime.Object, done func(watch.Event) bool) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.Patience)
	defer cancel()
	_, err := watchtools.UntilWithSync(ctx, what, kind, nil, func(event watch.Event) (bool, error) { return done(event), nil })
	return err
}
