// Package replicationcontroller keeps as many pods as a ReplicationController asks for, by the loop of package replicaset.
// https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
package replicationcontroller

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/replicaset"
)

// New makes the ReplicationController controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	return replicaset.NewLoop("replicationcontroller-controller", env, source{env}, workers)
}

// source shows ReplicationControllers as ReplicaSets.
type source struct {
	env *controller.Env
}

func (s source) Kind() schema.GroupVersionKind {
	return corev1.SchemeGroupVersion.WithKind("ReplicationController")
}

func (s source) lister() corelisters.ReplicationControllerLister {
	return s.env.Informers.Core().V1().ReplicationControllers().Lister()
}

func (s source) Watch(sources *controller.Sources, handlers controller.Handlers[*appsv1.ReplicaSet]) {
	controller.Watch(sources, s.env.Informers.Core().V1().ReplicationControllers().Informer(), controller.Handlers[*corev1.ReplicationController]{
		Add:    func(rc *corev1.ReplicationController) { handlers.Add(asSet(rc)) },
		Update: func(old, rc *corev1.ReplicationController) { handlers.Update(asSet(old), asSet(rc)) },
		Delete: func(rc *corev1.ReplicationController) { handlers.Delete(asSet(rc)) },
	})
}

func (s source) Get(key controller.Key) (*appsv1.ReplicaSet, error) {
	rc, err := s.lister().ReplicationControllers(key.Namespace).Get(key.Name)
	if err != nil {
		return nil, err
	}
	return asSet(rc), nil
}

func (s source) List(namespace string) ([]*appsv1.ReplicaSet, error) {
	rcs, err := s.lister().ReplicationControllers(namespace).List(labels.Everything())
	sets := make([]*appsv1.ReplicaSet, len(rcs))
	for i, rc := range rcs {
		sets[i] = asSet(rc)
	}
	return sets, err
}

func (s source) Live(ctx context.Context, key controller.Key) (metav1.Object, error) {
	return s.env.Client.CoreV1().ReplicationControllers(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}

func (s source) UpdateStatus(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
	updated, err := s.env.Client.CoreV1().ReplicationControllers(set.Namespace).UpdateStatus(ctx, asController(set), metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return asSet(updated), nil
}

func (s source) CountsTerminating() bool { return false }

func (s source) Object(set *appsv1.ReplicaSet) podcontrol.Owner { return asController(set) }

func asSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	set := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        rc.Spec.Replicas,
			MinReadySeconds: rc.Spec.MinReadySeconds,
			// An RC whose selector is empty selects nothing, where a ReplicaSet's would select everything.
			Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas:             rc.Status.Replicas,
			FullyLabeledReplicas: rc.Status.FullyLabeledReplicas,
			ReadyReplicas:        rc.Status.ReadyReplicas,
			AvailableReplicas:    rc.Status.AvailableReplicas,
			ObservedGeneration:   rc.Status.ObservedGeneration,
		},
	}
	if len(rc.Spec.Selector) == 0 {
		set.Spec.Selector = nil
	}
	if rc.Spec.Template != nil {
		set.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		set.Status.Conditions = append(set.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message, LastTransitionTime: c.LastTransitionTime,
		})
	}
	return set
}

func asController(set *appsv1.ReplicaSet) *corev1.ReplicationController {
	rc := &corev1.ReplicationController{
		ObjectMeta: set.ObjectMeta,
		Spec: corev1.ReplicationControllerSpec{
			Replicas:        set.Spec.Replicas,
			MinReadySeconds: set.Spec.MinReadySeconds,
			Template:        &set.Spec.Template,
		},
		Status: corev1.ReplicationControllerStatus{
			Replicas:             set.Status.Replicas,
			FullyLabeledReplicas: set.Status.FullyLabeledReplicas,
			ReadyReplicas:        set.Status.ReadyReplicas,
			AvailableReplicas:    set.Status.AvailableReplicas,
			ObservedGeneration:   set.Status.ObservedGeneration,
		},
	}
	if set.Spec.Selector != nil {
		rc.Spec.Selector = set.Spec.Selector.MatchLabels
	}
	for _, c := range set.Status.Conditions {
		rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message, LastTransitionTime: c.LastTransitionTime,
		})
	}
	return rc
}
