// Package disruption keeps the status of PodDisruptionBudgets, by which the API server grants or refuses evictions.
// https://kubernetes.io/docs/tasks/run-application/configure-pdb/
package disruption

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"
	budgets "k8s.io/component-helpers/apps/poddisruptionbudget"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

const workers = 5

// Controller is the disruption controller.
type Controller struct {
	env       *controller.Env
	informers informers.SharedInformerFactory
	sources   controller.Sources
	budgets   policylisters.PodDisruptionBudgetLister
	pods      corelisters.PodLister
	control   podcontrol.Control
	queue     *controller.Queue[controller.Key]
	// spared are pods that were marked as about to be disrupted; the mark is taken back if nothing came of it.
	spared *controller.Queue[controller.Key]
}

// New makes the disruption controller.
func New(env *controller.Env) (controller.Controller, error) {
	pdbs, pods := env.Informers.Policy().V1().PodDisruptionBudgets(), env.Informers.Core().V1().Pods()
	c := &Controller{
		env: env, informers: env.Informers, budgets: pdbs.Lister(), pods: pods.Lister(),
		control: podcontrol.Control{Client: env.Client, Recorder: env.Recorder},
	}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	c.spared = controller.NewQueue("disruption-stale-pods", env.Clock, controller.DefaultBackoff, c.takeBack)
	controller.Watch(&c.sources, pdbs.Informer(), controller.Any(func(pdb *policyv1.PodDisruptionBudget) { c.queue.Add(cache.MetaObjectToName(pdb)) }))
	controller.Watch(&c.sources, pods.Informer(), controller.Handlers[*corev1.Pod]{
		Add: func(pod *corev1.Pod) {
			c.podChanged(pod)
			c.watchMark(pod)
		},
		Update: func(old, pod *corev1.Pod) {
			if !equality.Semantic.DeepEqual(old.Labels, pod.Labels) {
				c.podChanged(old)
			}
			c.podChanged(pod)
			c.watchMark(pod)
		},
		Delete: c.podChanged,
	})
	apps := env.Informers.Apps().V1()
	c.sources.Need(env.Informers.Core().V1().ReplicationControllers().Informer(),
		apps.Deployments().Informer(), apps.ReplicaSets().Informer(), apps.StatefulSets().Informer())
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "disruption-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.queue.Run(ctx, workers) })
	running.Go(func() { c.spared.Run(ctx, 1) })
	return nil
}

func (c *Controller) podChanged(pod *corev1.Pod) {
	all, err := c.budgets.PodDisruptionBudgets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, pdb := range all {
		selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.Labels)) {
			c.queue.Add(cache.MetaObjectToName(pdb))
		}
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	pdb, err := c.budgets.PodDisruptionBudgets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.update(ctx, key, pdb); err != nil {
		if apierrors.IsConflict(err) {
			return err // An eviction was granted meanwhile: count again.
		}
		return errors.Join(err, c.failSafe(ctx, pdb, err))
	}
	return nil
}

func (c *Controller) update(ctx context.Context, key controller.Key, pdb *policyv1.PodDisruptionBudget) error {
	selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
	if err != nil {
		c.env.Recorder.Eventf(pdb, corev1.EventTypeWarning, "NoPods", "Failed to get pods: %v", err)
		return err
	}
	pods, err := c.pods.Pods(key.Namespace).List(selector)
	if err != nil {
		c.env.Recorder.Eventf(pdb, corev1.EventTypeWarning, "NoPods", "Failed to get pods: %v", err)
		return err
	}
	if len(pods) == 0 {
		c.env.Recorder.Eventf(pdb, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	expected := int32(len(pods))
	if needsScale(&pdb.Spec) {
		if expected, err = c.scaleOf(ctx, pdb, pods); err != nil {
			c.env.Recorder.Eventf(pdb, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
			return err
		}
	}
	needed, err := healthyNeeded(&pdb.Spec, expected)
	if err != nil {
		return err
	}
	found := count(pods, pdb.Status.DisruptedPods, c.env.Clock.Now())
	for _, pod := range found.late {
		c.env.Recorder.Eventf(pod, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", pdb.Namespace, pdb.Name)
	}
	if found.recheck > 0 {
		c.queue.AddAfter(key, found.recheck)
	}
	updated := pdb.DeepCopy()
	updated.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: pdb.Generation,
		DisruptedPods:      found.disrupted,
		DisruptionsAllowed: allowed(found.healthy, needed, expected),
		CurrentHealthy:     found.healthy,
		DesiredHealthy:     needed,
		ExpectedPods:       expected,
		Conditions:         updated.Status.Conditions,
	}
	budgets.UpdateDisruptionAllowedCondition(updated)
	return c.write(ctx, pdb, updated)
}

func (c *Controller) write(ctx context.Context, pdb, updated *policyv1.PodDisruptionBudget) error {
	if equality.Semantic.DeepEqual(pdb.Status, updated.Status) {
		return nil
	}
	_, err := c.env.Client.PolicyV1().PodDisruptionBudgets(pdb.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// failSafe allows no disruption while the budget cannot be computed.
func (c *Controller) failSafe(ctx context.Context, pdb *policyv1.PodDisruptionBudget, cause error) error {
	updated := pdb.DeepCopy()
	updated.Status.DisruptionsAllowed = 0
	conditions := updated.Status.Conditions[:0:0]
	for _, condition := range updated.Status.Conditions {
		if condition.Type != policyv1.DisruptionAllowedCondition {
			conditions = append(conditions, condition)
		} else if condition.Reason == policyv1.SyncFailedReason && condition.Message == cause.Error() {
			return nil
		}
	}
	updated.Status.Conditions = append(conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: cause.Error(), ObservedGeneration: pdb.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(c.env.Clock.Now()),
	})
	return c.write(ctx, pdb, updated)
}

// scaleOf adds up the sizes of the controllers that the pods belong to.
func (c *Controller) scaleOf(ctx context.Context, pdb *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (int32, error) {
	sizes := map[types.UID]int32{}
	seen := map[types.UID]bool{}
	unmanaged := false
	for _, pod := range pods {
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil {
			unmanaged = true
			continue
		}
		if seen[ref.UID] {
			continue
		}
		seen[ref.UID] = true
		uid, size, err := c.sizeOf(ctx, *ref, pod.Namespace)
		if err != nil {
			return 0, err
		}
		if uid == "" {
			return 0, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		sizes[uid] = size
	}
	if unmanaged {
		c.env.Recorder.Eventf(pdb, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", pdb.Spec.Selector)
	}
	var total int32
	for _, size := range sizes {
		total += size
	}
	return total, nil
}

// sizeOf is the size of the controller that ref names, or of the Deployment above it; uid is empty if it has none.
func (c *Controller) sizeOf(ctx context.Context, ref metav1.OwnerReference, namespace string) (types.UID, int32, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", 0, err
	}
	apps := c.informers.Apps().V1()
	switch (schema.GroupKind{Group: gv.Group, Kind: ref.Kind}) {
	case schema.GroupKind{Kind: "ReplicationController"}:
		rc, err := c.informers.Core().V1().ReplicationControllers().Lister().ReplicationControllers(namespace).Get(ref.Name)
		if err != nil || rc.UID != ref.UID {
			return "", 0, ignoreNotFound(err)
		}
		return rc.UID, ptr.Deref(rc.Spec.Replicas, 1), nil
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"}:
		set, err := apps.ReplicaSets().Lister().ReplicaSets(namespace).Get(ref.Name)
		if err != nil || set.UID != ref.UID {
			return "", 0, ignoreNotFound(err)
		}
		if above := metav1.GetControllerOfNoCopy(set); above != nil && above.Kind == "Deployment" {
			return c.sizeOf(ctx, *above, namespace)
		}
		return set.UID, ptr.Deref(set.Spec.Replicas, 1), nil
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "Deployment"}:
		d, err := apps.Deployments().Lister().Deployments(namespace).Get(ref.Name)
		if err != nil || d.UID != ref.UID {
			return "", 0, ignoreNotFound(err)
		}
		return d.UID, ptr.Deref(d.Spec.Replicas, 1), nil
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "StatefulSet"}:
		set, err := apps.StatefulSets().Lister().StatefulSets(namespace).Get(ref.Name)
		if err != nil || set.UID != ref.UID {
			return "", 0, ignoreNotFound(err)
		}
		return set.UID, ptr.Deref(set.Spec.Replicas, 1), nil
	}
	return c.sizeByScale(ctx, gv.WithKind(ref.Kind), ref, namespace)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// sizeByScale asks the scale subresource, which custom resources may have.
func (c *Controller) sizeByScale(ctx context.Context, kind schema.GroupVersionKind, ref metav1.OwnerReference, namespace string) (types.UID, int32, error) {
	mapping, err := c.env.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return "", 0, err
	}
	resource := mapping.Resource.GroupResource()
	scaled, err := c.env.Scales.Scales(namespace).Get(ctx, resource, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// Either there is no such object any more, or its kind cannot be scaled.
		return "", 0, fmt.Errorf("%s does not implement the scale subresource", resource)
	}
	if err != nil {
		return "", 0, err
	}
	if scaled.UID != ref.UID {
		return "", 0, nil
	}
	return scaled.UID, scaled.Spec.Replicas, nil
}

// watchMark has the pod's mark as about to be disrupted looked at once it is too old.
func (c *Controller) watchMark(pod *corev1.Pod) {
	if left, marked := c.markAge(pod); marked {
		c.spared.AddAfter(cache.MetaObjectToName(pod), max(0, left))
	}
}

// markAge is how long the pod's mark may stay yet. The kubelet's own marks are not touched.
func (c *Controller) markAge(pod *corev1.Pod) (left time.Duration, marked bool) {
	mark := podstate.Condition(pod, corev1.DisruptionTarget)
	if mark == nil || mark.Status != corev1.ConditionTrue || mark.Reason == corev1.PodReasonTerminationByKubelet || podstate.Ended(pod) || pod.DeletionTimestamp != nil {
		return 0, false
	}
	return mark.LastTransitionTime.Add(deletionTimeout).Sub(c.env.Clock.Now()), true
}

func (c *Controller) takeBack(ctx context.Context, key controller.Key) error {
	pod, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if err != nil {
		return ignoreNotFound(err)
	}
	left, marked := c.markAge(pod)
	if !marked {
		return nil
	}
	if left > 0 {
		c.spared.AddAfter(key, left)
		return nil
	}
	updated := pod.DeepCopy()
	podstate.SetCondition(&updated.Status, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(c.env.Clock.Now())})
	_, err = c.env.Client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	return ignoreNotFound(err)
}
