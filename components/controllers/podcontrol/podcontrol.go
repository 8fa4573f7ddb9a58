// Package podcontrol creates and deletes pods on behalf of the object that owns them and says so in events.
package podcontrol

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
)

// Reasons of the events about an owner's pods.
const (
	SuccessfulCreate = "SuccessfulCreate"
	FailedCreate     = "FailedCreate"
	SuccessfulDelete = "SuccessfulDelete"
	FailedDelete     = "FailedDelete"
)

// Owner is an object that owns pods.
type Owner interface {
	metav1.Object
	runtime.Object
}

// Control creates and deletes pods.
type Control struct {
	Client   kubernetes.Interface
	Recorder record.EventRecorder
}

// FromTemplate makes a pod of owner's out of its template. The API server completes the generated name.
func FromTemplate(template *corev1.PodTemplateSpec, owner Owner, ref *metav1.OwnerReference) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:    owner.GetNamespace(),
			GenerateName: owner.GetName() + "-",
			Labels:       maps.Clone(template.Labels),
			Annotations:  maps.Clone(template.Annotations),
			Finalizers:   slices.Clone(template.Finalizers),
		},
		Spec: *template.Spec.DeepCopy(),
	}
	if ref != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*ref}
	}
	return pod
}

// Create creates the pod. A namespace on its way out is not worth an event for every pod it refuses.
func (c *Control) Create(ctx context.Context, pod *corev1.Pod, owner Owner) (*corev1.Pod, error) {
	created, err := c.Client.CoreV1().Pods(owner.GetNamespace()).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.Recorder.Eventf(owner, corev1.EventTypeWarning, FailedCreate, "Error creating: %v", err)
		}
		return nil, err
	}
	c.Recorder.Eventf(owner, corev1.EventTypeNormal, SuccessfulCreate, "Created pod: %v", created.Name)
	return created, nil
}

// Delete deletes the pod; that it is gone already is returned as the error it is.
func (c *Control) Delete(ctx context.Context, pod *corev1.Pod, owner Owner) error {
	err := c.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		// Conflict: another pod has the name by now.
		return apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)
	}
	if err != nil {
		c.Recorder.Eventf(owner, corev1.EventTypeWarning, FailedDelete, "Error deleting: %v", err)
		return fmt.Errorf("unable to delete pods: %w", err)
	}
	c.Recorder.Eventf(owner, corev1.EventTypeNormal, SuccessfulDelete, "Deleted pod: %v", pod.Name)
	return nil
}

// Patch applies a strategic merge patch to a pod, or to one of its subresources.
func (c *Control) Patch(ctx context.Context, pod *corev1.Pod, patch []byte, subresources ...string) error {
	_, err := c.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, subresources...)
	return err
}

// Disrupt marks a pod that is about to be deleted for a reason other than its owner's wish, so that a Job's failure
// policy can tell; fail also ends it. https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
func (c *Control) Disrupt(ctx context.Context, pod *corev1.Pod, condition corev1.PodCondition, fail bool) error {
	condition.Type, condition.Status = corev1.DisruptionTarget, corev1.ConditionTrue
	condition.ObservedGeneration = pod.Generation
	status := map[string]any{"conditions": []corev1.PodCondition{condition}}
	if fail && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		status["phase"] = corev1.PodFailed
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	return c.Patch(ctx, pod, patch, "status")
}

// SlowStart calls do count times, in batches that start with one call and double as long as all succeed, so that a
// cause that fails every call (a quota, a bad template) costs few. It returns how many succeeded and the first error.
func SlowStart(count int, do func(i int) error) (int, error) {
	done := 0
	for batch := 1; done < count; batch *= 2 {
		batch = min(batch, count-done)
		errs := Parallel(batch, func(i int) error { return do(done + i) })
		if len(errs) > 0 {
			return done + batch - len(errs), errs[0]
		}
		done += batch
	}
	return done, nil
}

// atOnce is how many calls are under way at a time. More do not get through an API server any faster, but take its
// memory, and the processors from those who follow what changes: hundreds delay its watches by minutes.
const atOnce = 16

// Parallel calls do count times, several at once, and returns the errors.
func Parallel(count int, do func(i int) error) []error {
	var (
		calls sync.WaitGroup
		next  atomic.Int64
		mu    sync.Mutex
		errs  []error
	)
	for range min(count, atOnce) {
		calls.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	calls.Wait()
	return errs
}

// Names joins the names of pods for a message.
func Names(pods []*corev1.Pod) string {
	names := make([]string, len(pods))
	for i, pod := range pods {
		names[i] = pod.Name
	}
	return strings.Join(names, ", ")
}
