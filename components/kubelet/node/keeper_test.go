package node

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// withGadgets is the node at a resource version, with an amount of an extended resource.
func withGadgets(version, amount string) *v1.Node {
	resources := v1.ResourceList{"example.test/gadget": resource.MustParse(amount)}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: version},
		Status:     v1.NodeStatus{Capacity: resources, Allocatable: resources.DeepCopy()},
	}
}

func TestAnAnswerDoesNotHideALaterState(t *testing.T) {
	client := fake.NewClientset()
	none := v1.ResourceList{}
	k := New(Config{Name: "n", Client: client, Capacity: none, Allocatable: none, Pressure: func(v1.NodeConditionType) bool { return false }, Event: func(string, string, string) {}})
	k.Observe(withGadgets("10", "5"))
	// While the status is being sent, somebody changes the amount, and the watch tells of it first.
	client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		k.Observe(withGadgets("12", "3"))
		return true, withGadgets("11", "5"), nil
	})
	k.send(context.Background())
	if got := k.Node().Status.Capacity["example.test/gadget"]; got.Value() != 3 {
		t.Errorf("the node is known with %s gadgets, of the state before the last", got.String())
	}
	k.Observe(withGadgets("13", "4"))
	if got := k.Node().Status.Capacity["example.test/gadget"]; got.Value() != 4 {
		t.Errorf("the node is known with %s gadgets, not with what it has now", got.String())
	}
}
