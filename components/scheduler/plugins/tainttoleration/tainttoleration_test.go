package tainttoleration

import (
	"maps"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

var everything = v1.Toleration{Operator: v1.TolerationOpExists}

func TestFilter(t *testing.T) {
	cluster := NewCluster(t, Node("none"), Node("hard", Tainted("k", v1.TaintEffectNoSchedule)),
		Node("evicts", Tainted("k", v1.TaintEffectNoExecute)), Node("soft", Tainted("k", v1.TaintEffectPreferNoSchedule)))
	const rejected = "node(s) had untolerated taint(s) (unresolvable)"
	for _, test := range []struct {
		name string
		pod  *v1.Pod
		want map[string]string
	}{
		{"intolerant", Pod("p"), map[string]string{"none": "", "hard": rejected, "evicts": rejected, "soft": ""}},
		{"tolerant of one effect", Pod("p", Tolerates(v1.Toleration{Key: "k", Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoSchedule})),
			map[string]string{"none": "", "hard": "", "evicts": rejected, "soft": ""}},
		{"tolerant of another value", Pod("p", Tolerates(v1.Toleration{Key: "k", Value: "v"})), map[string]string{"none": "", "hard": rejected, "evicts": rejected, "soft": ""}},
		{"tolerant of all", Pod("p", Tolerates(everything)), map[string]string{"none": "", "hard": "", "evicts": "", "soft": ""}},
	} {
		if got := cluster.Filter(t, TaintToleration{}, test.pod); !maps.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestScore(t *testing.T) {
	soft := func(keys ...string) func(*v1.Node) {
		return func(n *v1.Node) {
			for _, key := range keys {
				Tainted(key, v1.TaintEffectPreferNoSchedule)(n)
			}
		}
	}
	cluster := NewCluster(t, Node("none"), Node("one", soft("a")), Node("two", soft("a", "b")))
	if got, want := cluster.Score(t, TaintToleration{}, Pod("p")), (map[string]int64{"none": 100, "one": 50, "two": 0}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := cluster.Score(t, TaintToleration{}, Pod("p", Tolerates(everything))), (map[string]int64{"none": 100, "one": 100, "two": 100}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHint(t *testing.T) {
	clean, tainted := Node("n"), Node("n", Tainted("k", v1.TaintEffectNoSchedule))
	for _, test := range []struct {
		name       string
		older, now any
		want       fwk.QueueingHint
	}{
		{"a node comes", nil, clean, fwk.Queue},
		{"a tainted node comes", nil, tainted, fwk.QueueSkip},
		{"a taint goes", tainted, clean, fwk.Queue},
		{"a taint comes", clean, tainted, fwk.QueueSkip},
	} {
		if got, err := nodeChanged(klog.Background(), Pod("p"), test.older, test.now); got != test.want || err != nil {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
	}
}
