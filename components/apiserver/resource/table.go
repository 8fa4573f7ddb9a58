package resource

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
)

// table turns objects into the rows that kubectl get prints.
type table[T Object] struct{ def *Definition[T] }

func (d *Definition[T]) tableConvertor() rest.TableConvertor {
	if d.Columns == nil {
		return rest.NewDefaultTableConvertor(d.GroupResource())
	}
	return table[T]{def: d}
}

func (t table[T]) ConvertToTable(_ context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	if opts, ok := tableOptions.(*metav1.TableOptions); !ok || opts == nil || !opts.NoHeaders {
		out.ColumnDefinitions = t.def.Columns
	}
	if list, err := meta.ListAccessor(object); err == nil {
		out.ResourceVersion = list.GetResourceVersion()
		out.Continue = list.GetContinue()
		out.RemainingItemCount = list.GetRemainingItemCount()
	} else if one, err := meta.CommonAccessor(object); err == nil {
		out.ResourceVersion = one.GetResourceVersion()
	}
	add := func(obj runtime.Object) error {
		o, ok := obj.(T)
		if !ok {
			return nil
		}
		row := metav1.TableRow{Cells: t.def.Cells(o), Object: runtime.RawExtension{Object: obj}}
		if t.def.RowConditions != nil {
			row.Conditions = t.def.RowConditions(o)
		}
		out.Rows = append(out.Rows, row)
		return nil
	}
	if meta.IsListType(object) {
		return out, meta.EachListItem(object, add)
	}
	return out, add(object)
}
