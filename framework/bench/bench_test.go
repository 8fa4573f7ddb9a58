package bench

import (
	"reflect"
	"testing"
	"time"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

func TestMetrics(t *testing.T) {
	var r record
	r.duration("boot/nodes", 3*time.Second)
	r.bytes("memory/resident/kubelet", 5)
	r.duration("boot/api", 2*time.Second)
	r.sample("pod/at once", time.Second)
	r.bytes("memory/resident/etcd", 7)
	r.sample("pod/at once", 3*time.Second)
	r.bytes("memory/resident/kubelet", 7)
	value := func(name, unit string, value float64) measure.Metric {
		return measure.Metric{Name: name, Unit: unit, Better: measure.Lower, Values: map[string]float64{measure.Value: value}}
	}
	want := []measure.Metric{
		value("boot/nodes", "s", 3), value("boot/api", "s", 2),
		{Name: "pod/at once", Unit: "s", Better: measure.Lower, Values: map[string]float64{"Average": 2, "Perc50": 1, "Perc90": 3, "Perc95": 3, "Perc99": 3}},
		value("memory/resident/etcd", "bytes", 7), value("memory/resident/kubelet", "bytes", 6),
	}
	if got := r.metrics(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v,\nwant %v", got, want)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	good := Config{Contenders: []Contender{{Name: "ours", Program: "plumb"}}, Runs: 1, Nodes: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Config){
		"Contenders":            func(c *Config) { c.Contenders = nil },
		"Contenders[0].Name":    func(c *Config) { c.Contenders = []Contender{{Program: "plumb"}} },
		"Contenders[0].Program": func(c *Config) { c.Contenders = []Contender{{Name: "ours"}} },
		"Runs":                  func(c *Config) { c.Runs = 0 },
		"FloorRuns":             func(c *Config) { c.FloorRuns = -1 },
		"Nodes":                 func(c *Config) { c.Nodes = -1 },
		"AtOnce":                func(c *Config) { c.AtOnce = -1 },
		"Settle":                func(c *Config) { c.Settle = -1 },
		"Replicas":              func(c *Config) { c.Replicas = -2 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || len(err.Error()) < len(field) || err.Error()[:len(field)] != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
