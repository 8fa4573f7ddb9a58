package apps

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ControllerRevisions are the past templates of DaemonSets and StatefulSets.
func ControllerRevisions() *resource.Definition[*appsv1.ControllerRevision] {
	return &resource.Definition[*appsv1.ControllerRevision]{
		Identity: resource.Identity{
			GroupVersion: appsv1.SchemeGroupVersion,
			Kind:         "ControllerRevision", Name: "controllerrevisions", Singular: "controllerrevision",
		},
		New:     func() *appsv1.ControllerRevision { return &appsv1.ControllerRevision{} },
		NewList: func() runtime.Object { return &appsv1.ControllerRevisionList{} },
		Validate: func(_ context.Context, r *appsv1.ControllerRevision) field.ErrorList {
			return append(notNegative(nil, count{"revision", r.Revision}), validateRevisionData(r.Data.Raw)...)
		},
		ValidateUpdate: func(_ context.Context, r, old *appsv1.ControllerRevision) field.ErrorList {
			return append(notNegative(nil, count{"revision", r.Revision}),
				apivalidation.ValidateImmutableField(r.Data, old.Data, field.NewPath("data"))...)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Controller", "Controller of the object"),
			table.String("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"]),
			table.Age(),
		},
		Cells: func(r *appsv1.ControllerRevision) []any {
			return []any{r.Name, controllerText(r), r.Revision, table.Since(r.CreationTimestamp)}
		},
	}
}

// controllerText names the owner as kubectl does: "daemonset.apps/web".
func controllerText(obj metav1.Object) string {
	owner := metav1.GetControllerOf(obj)
	if owner == nil {
		return table.None
	}
	group := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()
	return strings.ToLower(group.String()) + "/" + owner.Name
}

func validateRevisionData(raw []byte) field.ErrorList {
	path := field.NewPath("data")
	if raw == nil {
		return field.ErrorList{field.Required(path, "data is mandatory")}
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return field.ErrorList{field.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))}
	}
	switch value.(type) {
	case nil:
		return field.ErrorList{field.Required(path, "data is mandatory")}
	case map[string]any:
		return nil
	}
	return field.ErrorList{field.Required(path, "data must be a valid JSON object")}
}
