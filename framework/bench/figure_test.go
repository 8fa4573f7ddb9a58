package bench

import (
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for name, test := range map[string]struct {
		sample []float64
		want   Summary
	}{
		"nothing":           {nil, Summary{}},
		"one":               {[]float64{4}, Summary{Count: 1, Min: 4, Median: 4, P99: 4, Max: 4}},
		"odd, unsorted":     {[]float64{3, 1, 2}, Summary{Count: 3, Min: 1, Median: 2, P99: 3, Max: 3}},
		"even: lower half":  {[]float64{4, 1, 3, 2}, Summary{Count: 4, Min: 1, Median: 2, P99: 4, Max: 4}},
		"hundred, reversed": {hundred, Summary{Count: 100, Min: 1, Median: 50, P99: 99, Max: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Summarize(test.sample); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestSummarizeLeavesTheSampleAlone(t *testing.T) {
	sample := []float64{2, 1}
	Summarize(sample)
	if sample[0] != 2 {
		t.Errorf("the sample was sorted: %v", sample)
	}
}

func TestFiguresKeepGroupsTogether(t *testing.T) {
	var r record
	r.duration("boot", "api", 2*time.Second)
	r.bytes("memory", "etcd", 7)
	r.duration("boot", "nodes", 3*time.Second)
	r.duration("boot", "api", time.Second)
	figures := r.figures()
	var got []string
	for _, f := range figures {
		got = append(got, f.Group+"/"+f.Name)
	}
	want := []string{"boot/api", "boot/nodes", "memory/etcd"}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Fatalf("got %v, want %v", got, want)
	}
	if api := figures[0]; api.Unit != Seconds || api.Count != 2 || api.Min != 1 || api.Max != 2 {
		t.Errorf("boot/api is %+v", api)
	}
	if figures[2].Unit != Bytes || figures[2].Median != 7 {
		t.Errorf("memory/etcd is %+v", figures[2])
	}
}

func TestValidateNamesTheField(t *testing.T) {
	good := Config{Program: "plumb", Runs: 1, Nodes: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Config){
		"Program":  func(c *Config) { c.Program = "" },
		"Runs":     func(c *Config) { c.Runs = 0 },
		"Nodes":    func(c *Config) { c.Nodes = -1 },
		"AtOnce":   func(c *Config) { c.AtOnce = -1 },
		"Settle":   func(c *Config) { c.Settle = -1 },
		"Replicas": func(c *Config) { c.Replicas = -2 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || len(err.Error()) < len(field) || err.Error()[:len(field)] != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestParseLoadAndMemory(t *testing.T) {
	got, err := parseLoad("0.50 1.25 2.00 1/234 5678\n")
	if err != nil || got != [3]float64{0.5, 1.25, 2} {
		t.Errorf("load: %v, %v", got, err)
	}
	if _, err := parseLoad("busy"); err == nil {
		t.Error("load: nonsense was read")
	}
	memory, err := parseMemory("MemTotal:       16384 kB\nMemFree: 1 kB\n")
	if err != nil || memory != 16384<<10 {
		t.Errorf("memory: %v, %v", memory, err)
	}
	if _, err := parseMemory("MemFree: 1 kB\n"); err == nil {
		t.Error("memory: nonsense was read")
	}
}
