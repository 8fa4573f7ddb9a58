// Package flowcontrol keeps the objects by which priority and fairness knows the cluster's own traffic.
// The objects themselves are the library's.
// See https://kubernetes.io/docs/concepts/cluster-administration/flow-control/.
package flowcontrol

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

// Objects reads and writes stored objects.
type Objects interface {
	GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
	Create(ctx context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error)
	Update(ctx context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error)
}

// Ensure creates what is missing, and brings back the spec of the mandatory objects and of those
// suggested ones whose annotation allows it. Schemas come before the levels that they refer to:
// each level leaves less to the one that catches all, which turns away what it has no seat for,
// and so must be left with what no schema knows.
func Ensure(ctx context.Context, objects Objects, complete func(runtime.Object)) error {
	levels, schemas := flowcontrolv1.Resource("prioritylevelconfigurations"), flowcontrolv1.Resource("flowschemas")
	e := ensurer{objects, complete}
	var errs []error
	for _, flow := range bootstrap.MandatoryFlowSchemas {
		errs = append(errs, e.ensure(ctx, schemas, flow.DeepCopy(), true))
	}
	for _, flow := range bootstrap.SuggestedFlowSchemas {
		errs = append(errs, e.ensure(ctx, schemas, flow.DeepCopy(), false))
	}
	for _, level := range bootstrap.MandatoryPriorityLevelConfigurations {
		errs = append(errs, e.ensure(ctx, levels, level.DeepCopy(), true))
	}
	for _, level := range bootstrap.SuggestedPriorityLevelConfigurations {
		errs = append(errs, e.ensure(ctx, levels, level.DeepCopy(), false))
	}
	return errors.Join(errs...)
}

type object interface {
	runtime.Object
	metav1.Object
}

type ensurer struct {
	objects  Objects
	complete func(runtime.Object)
}

func (e ensurer) ensure(ctx context.Context, gr schema.GroupResource, wanted object, mandatory bool) error {
	wanted.SetAnnotations(map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"})
	e.complete(wanted)
	stored, err := e.objects.GetLatest(ctx, gr, "", wanted.GetName())
	switch {
	case apierrors.IsNotFound(err):
		if _, err = e.objects.Create(ctx, gr, wanted); apierrors.IsAlreadyExists(err) {
			return nil
		}
	case err == nil:
		have := stored.(object)
		if !mandatory && !updates(have) || sameSpec(have, wanted) {
			return nil
		}
		wanted.SetResourceVersion(have.GetResourceVersion())
		_, err = e.objects.Update(ctx, gr, wanted)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", gr.Resource, wanted.GetName(), err)
	}
	return nil
}

// updates says whether an object may be brought up to date; one without the annotation may if
// nobody has changed it.
func updates(obj object) bool {
	if text, ok := obj.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]; ok {
		allowed, err := strconv.ParseBool(text)
		return err == nil && allowed
	}
	return obj.GetGeneration() == 1
}

func sameSpec(have, wanted object) bool {
	switch w := wanted.(type) {
	case *flowcontrolv1.PriorityLevelConfiguration:
		return apiequality.Semantic.DeepEqual(have.(*flowcontrolv1.PriorityLevelConfiguration).Spec, w.Spec)
	case *flowcontrolv1.FlowSchema:
		return apiequality.Semantic.DeepEqual(have.(*flowcontrolv1.FlowSchema).Spec, w.Spec)
	}
	return false
}
