package matrix

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestWhatWasLostIsNamed(t *testing.T) {
	object := func(name, uid, value string, version string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"namespace": "n", "name": name, "uid": uid, "resourceVersion": version},
			"spec":     map[string]any{"value": value}, "status": map[string]any{"seen": version},
		}}
	}
	take := func(objects ...*unstructured.Unstructured) Inventory {
		inventory := Inventory{}
		for _, o := range objects {
			inventory.add(schema.GroupResource{Group: "apps", Resource: "deployments"}, o)
		}
		return inventory
	}
	before := take(object("kept", "1", "a", "5"), object("gone", "2", "a", "5"), object("changed", "3", "a", "5"), object("anew", "4", "a", "5"))
	after := take(object("kept", "1", "a", "9"), object("changed", "3", "b", "9"), object("anew", "7", "a", "9"), object("added", "8", "a", "9"))
	lost := before.Lost(after)
	if len(lost) != 3 || !slices.Contains(lost, "deployments.apps n/gone is gone") {
		t.Errorf("%q", lost)
	}
	if len(before.Lost(before)) != 0 {
		t.Error("something is lost between an inventory and itself")
	}
}
