package cluster

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

func TestAddresses(t *testing.T) {
	description := v1alpha1.New("demo", 0)
	description.Default()
	a, err := plan(description.Spec.Network)
	if err != nil {
		t.Fatal(err)
	}
	first, err := a.nodeAddress(0)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join([]string{a.controlPlane.String(), a.kubernetes.String(), a.dns.String(), first.String()}, " ")
	if want := "10.77.0.10 10.96.0.1 10.96.0.10 10.77.1.1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := a.nodeAddress(100_000); err == nil {
		t.Error("an address beyond the fabric was given out")
	}
}

func TestOnlyClientsCanBeFunctions(t *testing.T) {
	f := func(context.Context, []string) error { return nil }
	if _, err := newOptions([]Option{WithBinary("/bin/true"), WithFunction(Kubelet, f)}); err == nil {
		t.Error("a kubelet outside its machine was accepted")
	}
	if _, err := newOptions([]Option{WithBinary("/bin/true"), WithFunction(Scheduler, f)}); err != nil {
		t.Error(err)
	}
}

func TestStrikeOff(t *testing.T) {
	node := func(name string, status corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: status, Reason: "KubeletNotReady", Message: "no network"},
		}}}
	}
	waiting := map[string]string{"a": "", "b": ""}
	strikeOff(waiting, node("a", corev1.ConditionTrue))
	strikeOff(waiting, node("b", corev1.ConditionFalse))
	strikeOff(waiting, node("stranger", corev1.ConditionTrue))
	if len(waiting) != 1 || waiting["b"] != "KubeletNotReady: no network" {
		t.Errorf("waiting for %v", waiting)
	}
}

func TestKubeletFlags(t *testing.T) {
	spec := v1alpha1.Machine{
		Name: "n", Labels: map[string]string{"b": "2", "a": "1"}, Taints: []v1alpha1.Taint{{Key: "k", Value: "v", Effect: "NoSchedule"}},
	}
	got := strings.Join(kubeletArgs(spec, "10.77.1.1"), " ")
	for _, want := range []string{"--node-labels=a=1,b=2", "--register-with-taints=k=v:NoSchedule", "--hostname-override=n", "--node-ip=10.77.1.1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
}

func TestBoundedMachinesEvictEarlier(t *testing.T) {
	quantity := func(text string) *resource.Quantity { q := resource.MustParse(text); return &q }
	for _, test := range []struct {
		name   string
		bounds v1alpha1.Resources
		want   string
	}{
		{"unbounded", v1alpha1.Resources{}, `{memory.available: "50Mi", nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%"}`},
		{"little memory", v1alpha1.Resources{Memory: quantity("256Mi")}, `{memory.available: "50Mi", nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%"}`},
		{"all bounded", v1alpha1.Resources{Memory: quantity("1Gi"), Disk: quantity("1Gi"), PIDs: quantity("400")}, `{memory.available: "100Mi", nodefs.available: "10%", nodefs.inodesFree: "5%", imagefs.available: "1%", pid.available: "10%"}`},
	} {
		if got := evictionHard(test.bounds); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
