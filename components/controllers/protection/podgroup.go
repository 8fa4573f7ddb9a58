package protection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// NewPodGroups makes the controller that protects pod groups that pods are in which have not ended.
// https://kubernetes.io/docs/concepts/workloads/workload-api/
func NewPodGroups(env *controller.Env) (controller.Controller, error) {
	groups, pods := env.Informers.Scheduling().V1beta1().PodGroups(), env.Informers.Core().V1().Pods()
	c := &Controller{
		name: "podgroup-protection-controller", finalizer: podGroupFinalizer, byAdmission: true,
		get: func(key controller.Key) (metav1.Object, error) {
			return groups.Lister().PodGroups(key.Namespace).Get(key.Name)
		},
		update: func(ctx context.Context, object metav1.Object) error {
			return write(ctx, env.Client.SchedulingV1beta1().PodGroups(object.GetNamespace()).Update, object)
		},
		inUse: func(ctx context.Context, group metav1.Object) (bool, error) {
			cached, err := pods.Lister().Pods(group.GetNamespace()).List(labels.Everything())
			if err != nil || slices.ContainsFunc(cached, func(pod *corev1.Pod) bool { return holds(pod, group) }) {
				return true, err
			}
			live, err := env.Client.CoreV1().Pods(group.GetNamespace()).List(ctx, metav1.ListOptions{})
			if err != nil {
				return true, err
			}
			return slices.ContainsFunc(live.Items, func(pod corev1.Pod) bool { return holds(&pod, group) }), nil
		},
	}
	c.queue = controller.NewQueue(c.name, env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, groups.Informer(), controller.Handlers[*schedulingv1beta1.PodGroup]{
		Add:    func(group *schedulingv1beta1.PodGroup) { c.queue.Add(cache.MetaObjectToName(group)) },
		Update: func(_, group *schedulingv1beta1.PodGroup) { c.queue.Add(cache.MetaObjectToName(group)) },
	})
	released := func(pod *corev1.Pod) {
		if name := groupOf(pod); name != "" {
			c.queue.Add(controller.Key{Namespace: pod.Namespace, Name: name})
		}
	}
	controller.Watch(&c.sources, pods.Informer(), controller.Handlers[*corev1.Pod]{
		Update: func(old, pod *corev1.Pod) {
			if podstate.Ended(pod) || old.UID != pod.UID {
				released(old)
			}
		},
		Delete: released,
	})
	return c, nil
}

// groupOf is the name of the pod's group, "" if it has none.
func groupOf(pod *corev1.Pod) string {
	if pod.Spec.SchedulingGroup == nil || pod.Spec.SchedulingGroup.PodGroupName == nil {
		return ""
	}
	return *pod.Spec.SchedulingGroup.PodGroupName
}

func holds(pod *corev1.Pod, group metav1.Object) bool {
	return groupOf(pod) == group.GetName() && !podstate.Ended(pod)
}
