package pod

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	policyclient "k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/apps/poddisruptionbudget"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

const (
	overBudget = "Cannot evict pod as it would violate the pod's disruption budget."
	// mostPending bounds how many evictions a budget remembers until its controller
	// has seen the pods go.
	mostPending = 2000
)

// conflictBackoff is how long an eviction fights for a budget with other writers.
func conflictBackoff() wait.Backoff {
	return wait.Backoff{Steps: 20, Duration: 500 * time.Millisecond, Factor: 1, Jitter: 0.1}
}

// evictor deletes a pod if its disruption budget allows: POST pods/NAME/eviction.
// https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
type evictor struct {
	// pods changes a pod's status, and deletes it.
	pods interface {
		rest.Getter
		rest.Updater
	}
	deleter rest.GracefulDeleter
	budgets func(namespace string) policyclient.PodDisruptionBudgetInterface
}

var (
	_ rest.NamedCreater             = &evictor{}
	_ rest.GroupVersionKindProvider = &evictor{}
	_ rest.GroupVersionAcceptor     = &evictor{}
)

func (*evictor) New() runtime.Object { return new(policyv1.Eviction) }
func (*evictor) Destroy()            {}

// GroupVersionKind says that the body is of another group than the pod.
func (*evictor) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// AcceptsGroupVersion lists the versions a body may have.
func (*evictor) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion || gv == policyv1beta1.SchemeGroupVersion
}

// Create evicts the pod.
func (e *evictor) Create(ctx context.Context, name string, obj runtime.Object, admit rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	eviction, ok := obj.(*policyv1.Eviction)
	switch {
	case !ok:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	case eviction.Name != name:
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	asked, err := deleteOptions(eviction, options.DryRun)
	if err != nil {
		return nil, err
	}
	if admit != nil {
		if err := admit(ctx, eviction.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	done := &metav1.Status{Status: metav1.StatusSuccess}
	p, gone, err := e.deleteUncounted(ctx, name, asked)
	if err != nil {
		return nil, err
	}
	if gone {
		return done, nil
	}
	budget, err := e.budgetOf(ctx, p)
	var refusal *severalBudgets
	if errors.As(err, &refusal) {
		return refusal.status(), nil
	}
	if err != nil {
		return nil, err
	}
	final := asked
	unhealthy := budget != nil && mayGoUnready(budget, p)
	if unhealthy {
		// The pod is let go because it is not ready: it must still be so.
		final = onlyIf(asked, p.ResourceVersion)
	} else if budget != nil {
		if err := e.spend(ctx, budget, p, dryrun.IsDryRun(asked.DryRun)); err != nil {
			return nil, err
		}
	}
	if err := e.delete(ctx, name, final); err != nil {
		if unhealthy && apierrors.IsConflict(err) && versionOf(asked) == nil {
			return nil, stillProcessed(budget.Name)
		}
		return nil, err
	}
	return done, nil
}

// deleteOptions are those of the eviction with the request's dry run.
func deleteOptions(e *policyv1.Eviction, dryRun []string) (*metav1.DeleteOptions, error) {
	o := e.DeleteOptions
	switch {
	case o == nil:
		return &metav1.DeleteOptions{DryRun: dryRun}, nil
	case ptr.Deref(o.IgnoreStoreReadErrorWithClusterBreakingPotential, false):
		at := field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential")
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: policyv1.GroupName, Kind: "Eviction"}, e.Name,
			field.ErrorList{field.Invalid(at, true, "can not be set for pod eviction, try after removing the option")})
	case len(o.DryRun) == 0:
		o.DryRun = dryRun
	case len(dryRun) > 0 && !slices.Equal(dryRun, o.DryRun):
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", dryRun, o.DryRun) //nolint:staticcheck // the API's wording
	}
	return o, nil
}

// deleteUncounted deletes a pod that no budget counts: one that is over, going, or not
// running yet. Otherwise it returns the pod.
func (e *evictor) deleteUncounted(ctx context.Context, name string, asked *metav1.DeleteOptions) (p *corev1.Pod, gone bool, err error) {
	again := func(err error) bool { return versionOf(asked) == nil && apierrors.IsConflict(err) }
	err = retry.OnError(conflictBackoff(), again, func() error {
		obj, err := e.pods.Get(ctx, name, &metav1.GetOptions{})
		if err != nil {
			return err
		}
		p = obj.(*corev1.Pod)
		over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil
		if !over && p.Status.Phase != corev1.PodPending {
			return nil
		}
		o := asked
		if !over && versionOf(asked) == nil {
			// It may start to run, and to count, in this moment.
			o = onlyIf(asked, p.ResourceVersion)
		}
		if err := e.delete(ctx, name, o); err != nil {
			return err
		}
		gone = true
		return nil
	})
	return p, gone, err
}

// severalBudgets is the error of a pod that more than one budget selects.
type severalBudgets struct{}

func (*severalBudgets) Error() string {
	return "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
}

func (s *severalBudgets) status() *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Message: s.Error(), Code: 500}
}

func (e *evictor) budgetOf(ctx context.Context, p *corev1.Pod) (*policyv1.PodDisruptionBudget, error) {
	list, err := e.budgets(p.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var own *policyv1.PodDisruptionBudget
	for i := range list.Items {
		selector, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		if own != nil {
			return nil, &severalBudgets{}
		}
		own = &list.Items[i]
	}
	return own, nil
}

// mayGoUnready reports whether a pod that is not ready can be evicted without being counted.
// https://kubernetes.io/docs/tasks/run-application/configure-pdb/#unhealthy-pod-eviction-policy
func mayGoUnready(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	if isTrue(p, corev1.PodReady) {
		return false
	}
	if ptr.Deref(b.Spec.UnhealthyPodEvictionPolicy, policyv1.IfHealthyBudget) == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.DesiredHealthy > 0 && b.Status.CurrentHealthy >= b.Status.DesiredHealthy
}

// spend takes one disruption from the budget, if it has one left.
func (e *evictor) spend(ctx context.Context, b *policyv1.PodDisruptionBudget, p *corev1.Pod, dry bool) error {
	name, stale := b.Name, false
	err := retry.RetryOnConflict(conflictBackoff(), func() error {
		if stale {
			fresh, err := e.budgets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			b = fresh
		}
		stale = true
		if err := refusalOf(b); err != nil || dry {
			return err
		}
		b.Status.DisruptionsAllowed--
		if b.Status.DisruptionsAllowed == 0 {
			poddisruptionbudget.UpdateDisruptionAllowedCondition(b)
		}
		if b.Status.DisruptedPods == nil {
			b.Status.DisruptedPods = map[string]metav1.Time{}
		}
		b.Status.DisruptedPods[p.Name] = metav1.Now()
		_, err := e.budgets(p.Namespace).UpdateStatus(ctx, b, metav1.UpdateOptions{})
		return err
	})
	if wait.Interrupted(err) {
		return apierrors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", name), 10)
	}
	return err
}

// refusalOf says why a budget does not allow a disruption now; nil if it does.
func refusalOf(b *policyv1.PodDisruptionBudget) error {
	s := &b.Status
	never := func(why, cause string) error {
		err := apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New(why))
		return because(err, fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", b.Name, cause))
	}
	switch {
	case s.ObservedGeneration < b.Generation:
		return stillProcessed(b.Name)
	case s.DisruptionsAllowed < 0:
		return never("pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > mostPending:
		return never("DisruptedPods map too big - too many evictions not confirmed by PDB controller",
			"too many pending evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed > 0:
		return nil
	}
	refused := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
	if refused == nil || refused.Status != metav1.ConditionFalse || refused.Message == "" {
		refused = nil
	}
	none := fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
	switch {
	case refused != nil && refused.Reason == policyv1.SyncFailedReason:
		none += " because it failed sync: " + refused.Message
	case s.CurrentHealthy <= s.DesiredHealthy:
		none = fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	case refused != nil:
		none += fmt.Sprintf(" (%s): %s", refused.Reason, refused.Message)
	}
	return because(apierrors.NewTooManyRequests(overBudget, 0), none)
}

// stillProcessed asks the client to come back when the budget's controller has caught up.
func stillProcessed(budget string) error {
	return because(apierrors.NewTooManyRequests(overBudget, 10),
		fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

// because adds the budget as the cause, by which drain knows to try again.
func because(err *apierrors.StatusError, message string) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes,
		metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: message})
	return err
}

// delete marks the pod as disrupted, which Jobs go by, and deletes it.
func (e *evictor) delete(ctx context.Context, name string, o *metav1.DeleteOptions) error {
	if !dryrun.IsDryRun(o.DryRun) {
		mark := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
			p := old.(*corev1.Pod).DeepCopy()
			if err := stillIs(p, o.Preconditions); err != nil {
				return nil, err
			}
			SetCondition(&p.Status, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
			})
			return p, nil
		})
		marked, _, err := e.pods.Update(ctx, name, mark, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		if versionOf(o) != nil {
			o = onlyIf(o, marked.(*corev1.Pod).ResourceVersion)
		}
	}
	_, _, err := e.deleter.Delete(ctx, name, rest.ValidateAllObjectFunc, o)
	return err
}

func stillIs(p *corev1.Pod, c *metav1.Preconditions) error {
	if c == nil {
		return nil
	}
	conflict := func(what, wanted, is, hint string) error {
		return apierrors.NewConflict(schema.GroupResource{Resource: "Pod"}, p.Name, fmt.Errorf(
			"the %s in the precondition (%s) does not match the %s in record (%s). The object might have been %s", what, wanted, what, is, hint))
	}
	if uid := ptr.Deref(c.UID, ""); uid != "" && uid != p.UID {
		return conflict("UID", string(uid), string(p.UID), "deleted and then recreated")
	}
	if version := ptr.Deref(c.ResourceVersion, ""); version != "" && version != p.ResourceVersion {
		return conflict("ResourceVersion", version, p.ResourceVersion, "modified")
	}
	return nil
}

func versionOf(o *metav1.DeleteOptions) *string {
	if o.Preconditions == nil {
		return nil
	}
	return o.Preconditions.ResourceVersion
}

// onlyIf adds the condition that the pod has not changed.
func onlyIf(o *metav1.DeleteOptions, version string) *metav1.DeleteOptions {
	o = o.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = new(metav1.Preconditions)
	}
	o.Preconditions.ResourceVersion = &version
	return o
}

// addEvictions makes the body of an eviction known, in both its versions.
func addEvictions(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(policyv1.SchemeGroupVersion, new(policyv1.Eviction))
	scheme.AddKnownTypes(policyv1beta1.SchemeGroupVersion, new(policyv1beta1.Eviction))
	if err := resource.RegisterHub(scheme, policyv1.GroupName, "Eviction", new(policyv1.Eviction)); err != nil {
		return err
	}
	err := scheme.AddConversionFunc((*policyv1beta1.Eviction)(nil), (*policyv1.Eviction)(nil), func(in, out any, _ conversion.Scope) error {
		old := in.(*policyv1beta1.Eviction)
		*out.(*policyv1.Eviction) = policyv1.Eviction{ObjectMeta: old.ObjectMeta, DeleteOptions: old.DeleteOptions}
		return nil
	})
	if err != nil {
		return err
	}
	return scheme.AddConversionFunc((*policyv1.Eviction)(nil), (*policyv1beta1.Eviction)(nil), func(in, out any, _ conversion.Scope) error {
		now := in.(*policyv1.Eviction)
		*out.(*policyv1beta1.Eviction) = policyv1beta1.Eviction{ObjectMeta: now.ObjectMeta, DeleteOptions: now.DeleteOptions}
		return nil
	})
}
