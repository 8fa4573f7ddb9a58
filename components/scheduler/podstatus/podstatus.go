// Package podstatus writes the parts of a pod's status that belong to the scheduler.
package podstatus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/wait"
	clientset "k8s.io/client-go/kubernetes"
)

// Patch sends the difference between the pod's status and after, if there is any. The pod's UID goes along, so that
// a later pod of the same name is left alone.
func Patch(ctx context.Context, client clientset.Interface, pod *v1.Pod, after *v1.PodStatus) error {
	before, err := json.Marshal(v1.Pod{Status: pod.Status})
	if err != nil {
		return err
	}
	now, err := json.Marshal(v1.Pod{Status: *after})
	if err != nil {
		return err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, now, v1.Pod{})
	if err != nil {
		return fmt.Errorf("failed to create merge patch for pod %q/%q: %w", pod.Namespace, pod.Name, err)
	}
	if string(patch) == "{}" {
		return nil
	}
	var fields map[string]any
	if err := json.Unmarshal(patch, &fields); err != nil {
		return err
	}
	fields["metadata"] = map[string]any{"uid": pod.UID}
	if patch, err = json.Marshal(fields); err != nil {
		return err
	}
	var failure error
	retry := wait.Backoff{Duration: 10 * time.Millisecond, Factor: 5, Jitter: 0.1, Steps: 3}
	err = wait.ExponentialBackoffWithContext(ctx, retry, func(ctx context.Context) (bool, error) {
		_, failure = client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		transient := utilnet.IsConnectionRefused(failure) || utilnet.IsConnectionReset(failure) || apierrors.IsInternalError(failure)
		return !transient, nil
	})
	if failure != nil {
		return failure
	}
	return err
}

// SetCondition adds or replaces a condition; it says whether anything changed. The time of transition moves only when
// the status of the condition does.
func SetCondition(status *v1.PodStatus, condition v1.PodCondition) bool {
	condition.LastTransitionTime = metav1.Now()
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != condition.Type {
			continue
		}
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		condition.LastProbeTime = old.LastProbeTime
		if *old == condition {
			return false
		}
		*old = condition
		return true
	}
	status.Conditions = append(status.Conditions, condition)
	return true
}
