package podgroup

import (
	"context"
	"encoding/json"
	"fmt"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientset "k8s.io/client-go/kubernetes"
)

// reasonScheduled is why a group counts as scheduled.
const reasonScheduled = "Scheduled"

// ReportScheduled writes that the group has all the nodes it needs: the condition PodGroupInitiallyScheduled.
// https://kubernetes.io/docs/concepts/workloads/podgroup-api/
func ReportScheduled(ctx context.Context, client clientset.Interface, group *schedulingv1beta1.PodGroup) error {
	return report(ctx, client, group, metav1.Condition{Status: metav1.ConditionTrue, Reason: reasonScheduled})
}

// ReportUnschedulable writes that the group has not the nodes it needs, and why. Of a group that once had them it
// writes nothing.
func ReportUnschedulable(ctx context.Context, client clientset.Interface, group *schedulingv1beta1.PodGroup, why string) error {
	return report(ctx, client, group, metav1.Condition{Status: metav1.ConditionFalse, Reason: schedulingv1beta1.PodGroupReasonUnschedulable, Message: why})
}

func report(ctx context.Context, client clientset.Interface, group *schedulingv1beta1.PodGroup, condition metav1.Condition) error {
	condition.Type, condition.ObservedGeneration = schedulingv1beta1.PodGroupInitiallyScheduled, group.Generation
	conditions := group.DeepCopy().Status.Conditions
	succeeded := condition.Status == metav1.ConditionTrue
	if meta.IsStatusConditionTrue(conditions, condition.Type) && !succeeded {
		return nil
	}
	if !meta.SetStatusCondition(&conditions, condition) {
		return nil
	}
	about := map[string]any{"uid": group.UID}
	if !succeeded && group.ResourceVersion != "" {
		// Nothing takes a success back that is not in the cache yet.
		about["resourceVersion"] = group.ResourceVersion
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": about,
		"status":   map[string]any{"conditions": []*metav1.Condition{meta.FindStatusCondition(conditions, condition.Type)}},
	})
	if err != nil {
		return err
	}
	_, err = client.SchedulingV1beta1().PodGroups(group.Namespace).Patch(ctx, group.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("writing the condition %s of pod group %s/%s: %w", condition.Type, group.Namespace, group.Name, err)
	}
	return nil
}
