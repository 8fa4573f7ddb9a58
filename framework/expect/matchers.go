package expect

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/onsi/gomega/format"
	"github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Satisfy makes a matcher for one type of object. The check returns "" if the
// object satisfies it, else what is missing.
func Satisfy[T any](what string, check func(T) string) types.GomegaMatcher {
	return &satisfy[T]{what: what, check: check}
}

type satisfy[T any] struct {
	what    string
	check   func(T) string
	missing string
}

func (s *satisfy[T]) Match(actual any) (bool, error) {
	object, ok := actual.(T)
	if !ok {
		return false, fmt.Errorf("%s is asked of a %s, but this is a %T", s.what, reflect.TypeFor[T](), actual)
	}
	s.missing = s.check(object)
	return s.missing == "", nil
}

func (s *satisfy[T]) FailureMessage(actual any) string {
	return fmt.Sprintf("expected %s to %s, but %s", name(actual), s.what, s.missing)
}

func (s *satisfy[T]) NegatedFailureMessage(actual any) string {
	return fmt.Sprintf("expected %s not to %s", name(actual), s.what)
}

func name(actual any) string {
	if object, ok := actual.(client.Object); ok {
		return describe(object)
	}
	return format.Object(actual, 0)
}

// BeRunning asks of a pod that its phase is Running.
func BeRunning() types.GomegaMatcher { return HavePhase(corev1.PodRunning) }

// HavePhase asks of a pod that it is in a phase.
func HavePhase(phase corev1.PodPhase) types.GomegaMatcher {
	return Satisfy("be "+string(phase), func(pod *corev1.Pod) string {
		if pod.Status.Phase == phase {
			return ""
		}
		return podState(pod)
	})
}

// BeReady asks of a pod or a node that its condition Ready is True.
func BeReady() types.GomegaMatcher { return HaveCondition("Ready", corev1.ConditionTrue) }

// BeScheduled asks of a pod that it has a node.
func BeScheduled() types.GomegaMatcher {
	return Satisfy("have a node", func(pod *corev1.Pod) string {
		if pod.Spec.NodeName != "" {
			return ""
		}
		return podState(pod)
	})
}

// podState says in a line how a pod is, for whoever waits in vain.
func podState(pod *corev1.Pod) string {
	parts := []string{fmt.Sprintf("its phase is %q on node %q", pod.Status.Phase, pod.Spec.NodeName)}
	for _, condition := range pod.Status.Conditions {
		if condition.Status != corev1.ConditionTrue && condition.Message != "" {
			parts = append(parts, fmt.Sprintf("%s is %s: %s", condition.Type, condition.Status, condition.Message))
		}
	}
	for _, container := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		if waiting := container.State.Waiting; waiting != nil {
			parts = append(parts, fmt.Sprintf("container %s waits: %s %s", container.Name, waiting.Reason, waiting.Message))
		}
		if ended := container.State.Terminated; ended != nil {
			parts = append(parts, fmt.Sprintf("container %s ended: %s, exit code %d %s", container.Name, ended.Reason, ended.ExitCode, ended.Message))
		}
	}
	return strings.Join(parts, "; ")
}

// HaveCondition asks of any object with status.conditions that one of them has a status.
func HaveCondition[S ~string](kind string, status S) types.GomegaMatcher {
	return Satisfy(fmt.Sprintf("have condition %s=%s", kind, status), func(object client.Object) string {
		if untyped, ok := object.(*unstructured.Unstructured); ok {
			return untypedCondition(untyped, kind, string(status))
		}
		conditions := reflect.Indirect(reflect.ValueOf(object)).FieldByName("Status")
		if conditions.IsValid() {
			conditions = conditions.FieldByName("Conditions")
		}
		if !conditions.IsValid() || conditions.Kind() != reflect.Slice {
			return "its type has no status.conditions"
		}
		for i := range conditions.Len() {
			condition := conditions.Index(i)
			if condition.FieldByName("Type").String() != kind {
				continue
			}
			if got := condition.FieldByName("Status").String(); got != string(status) {
				return fmt.Sprintf("it is %s: %s %s", got, condition.FieldByName("Reason"), condition.FieldByName("Message"))
			}
			return ""
		}
		if pod, ok := object.(*corev1.Pod); ok {
			return "it has no such condition; " + podState(pod)
		}
		return "it has no such condition"
	})
}

// untypedCondition says what is wrong with a condition of an object without a Go type.
func untypedCondition(object *unstructured.Unstructured, kind, status string) string {
	conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return err.Error()
	}
	for _, entry := range conditions {
		condition, ok := entry.(map[string]any)
		if !ok || condition["type"] != kind {
			continue
		}
		if condition["status"] != status {
			return fmt.Sprintf("it is %v: %v %v", condition["status"], condition["reason"], condition["message"])
		}
		return ""
	}
	return "it has no such condition"
}

// BeTerminating asks of an object that its deletion has begun.
func BeTerminating() types.GomegaMatcher {
	return Satisfy("be terminating", func(object client.Object) string {
		if object.GetDeletionTimestamp() != nil {
			return ""
		}
		return "it has no deletionTimestamp"
	})
}

// BeRolledOut asks of a Deployment, DaemonSet or ReplicaSet that its newest
// template runs everywhere it should, and nothing else, all available.
// See https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#complete-deployment
func BeRolledOut() types.GomegaMatcher {
	return Satisfy("be rolled out", func(object client.Object) string {
		switch o := object.(type) {
		case *appsv1.Deployment:
			want := ptr.Deref(o.Spec.Replicas, 1)
			s := o.Status
			return unless(s.ObservedGeneration >= o.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want,
				"of %d replicas %d exist, %d are updated, %d available; generation %d of %d observed",
				want, s.Replicas, s.UpdatedReplicas, s.AvailableReplicas, s.ObservedGeneration, o.Generation)
		case *appsv1.ReplicaSet:
			want := ptr.Deref(o.Spec.Replicas, 1)
			s := o.Status
			return unless(s.ObservedGeneration >= o.Generation && s.Replicas == want && s.AvailableReplicas == want,
				"of %d replicas %d exist, %d are available", want, s.Replicas, s.AvailableReplicas)
		case *appsv1.DaemonSet:
			s := o.Status
			return unless(s.ObservedGeneration >= o.Generation && s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled,
				"of %d pods %d are updated, %d available", s.DesiredNumberScheduled, s.UpdatedNumberScheduled, s.NumberAvailable)
		case *appsv1.StatefulSet:
			want := ptr.Deref(o.Spec.Replicas, 1)
			s := o.Status
			return unless(s.ObservedGeneration >= o.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want,
				"of %d replicas %d are updated, %d available", want, s.UpdatedReplicas, s.AvailableReplicas)
		}
		return fmt.Sprintf("a %T has no rollout", object)
	})
}

func unless(ok bool, message string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(message, args...)
}

// BeComplete asks of a Job that its condition Complete is True.
func BeComplete() types.GomegaMatcher {
	return HaveCondition(string(batchv1.JobComplete), corev1.ConditionTrue)
}

// HaveReadyEndpoints asks of an EndpointSlice that it holds a number of endpoints that are ready.
func HaveReadyEndpoints(count int) types.GomegaMatcher {
	return Satisfy(fmt.Sprintf("have %d ready endpoints", count), func(slice *discoveryv1.EndpointSlice) string {
		ready := 0
		for _, endpoint := range slice.Endpoints {
			// A missing condition means ready: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ready
			if ptr.Deref(endpoint.Conditions.Ready, true) {
				ready++
			}
		}
		return unless(ready == count, "it has %d, and %d that are not", ready, len(slice.Endpoints)-ready)
	})
}

// EachItem asks of a list that it has a number of items and that each satisfies a matcher.
func EachItem(count int, matcher types.GomegaMatcher) types.GomegaMatcher {
	return Satisfy(fmt.Sprintf("have %d items that all match", count), func(list client.ObjectList) string {
		items, err := meta.ExtractList(list)
		if err != nil {
			return err.Error()
		}
		for _, item := range items {
			if ok, why, err := judge(matcher, item); err != nil {
				return err.Error()
			} else if !ok {
				return why
			}
		}
		return unless(len(items) == count, "it has %d", len(items))
	})
}
