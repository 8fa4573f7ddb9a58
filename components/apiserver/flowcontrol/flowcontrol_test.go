package flowcontrol_test

import (
	"context"
	"slices"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/plumbline/plumbline/components/apiserver/flowcontrol"
)

// store holds objects in the order of their creation.
type store struct{ created []runtime.Object }

func (s *store) GetLatest(_ context.Context, gr schema.GroupResource, _, name string) (runtime.Object, error) {
	return nil, apierrors.NewNotFound(gr, name)
}

func (s *store) Create(_ context.Context, _ schema.GroupResource, obj runtime.Object) (runtime.Object, error) {
	s.created = append(s.created, obj)
	return obj, nil
}

func (s *store) Update(_ context.Context, _ schema.GroupResource, obj runtime.Object) (runtime.Object, error) {
	return obj, nil
}

// A level that is there before the schemas which send requests to it takes seats from the
// one that catches them until then.
func TestLevelsComeAfterTheSchemasThatReferToThem(t *testing.T) {
	s := &store{}
	if err := flowcontrol.Ensure(t.Context(), s, func(runtime.Object) {}); err != nil {
		t.Fatal(err)
	}
	known := map[string]int{}
	for i, object := range s.created {
		if level, ok := object.(*flowcontrolv1.PriorityLevelConfiguration); ok {
			known[level.Name] = i
		}
	}
	schemas := 0
	for i, object := range s.created {
		flow, ok := object.(*flowcontrolv1.FlowSchema)
		if !ok {
			continue
		}
		schemas++
		name := flow.Spec.PriorityLevelConfiguration.Name
		if at, ok := known[name]; !ok || at < i {
			t.Errorf("the schema %s is stored after the level %s, if that is stored at all", flow.Name, name)
		}
	}
	if want := len(slices.Concat(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas)); schemas != want {
		t.Errorf("%d schemas are stored, not %d", schemas, want)
	}
}
