package nodeunschedulable

import (
	"maps"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func TestFilter(t *testing.T) {
	cluster := NewCluster(t, Node("open"), Node("cordoned", Cordoned))
	if got, want := cluster.Filter(t, NodeUnschedulable{}, Pod("p")), (map[string]string{"open": "", "cordoned": Reason + " (unresolvable)"}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	tolerant := Pod("p", Tolerates(v1.Toleration{Key: v1.TaintNodeUnschedulable, Operator: v1.TolerationOpExists}))
	if got, want := cluster.Filter(t, NodeUnschedulable{}, tolerant), (map[string]string{"open": "", "cordoned": ""}); !maps.Equal(got, want) {
		t.Errorf("tolerant: got %v, want %v", got, want)
	}
}

func TestHint(t *testing.T) {
	for _, test := range []struct {
		name       string
		older, now any
		want       fwk.QueueingHint
	}{
		{"comes", nil, Node("n"), fwk.Queue},
		{"comes cordoned", nil, Node("n", Cordoned), fwk.QueueSkip},
		{"is uncordoned", Node("n", Cordoned), Node("n"), fwk.Queue},
		{"stays open", Node("n"), Node("n"), fwk.QueueSkip},
	} {
		if got, err := nodeOpened(klog.Background(), Pod("p"), test.older, test.now); got != test.want || err != nil {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
	}
}
