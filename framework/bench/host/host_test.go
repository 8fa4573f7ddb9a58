package host

import "testing"

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
	for text, want := range map[string]string{
		"processor\t: 0\nmodel name\t: Fast (R) 9000\nmodel name\t: Slow\n": "Fast (R) 9000",
		"processor\t: 0\nCPU part\t: 0xd0c\n":                               "of unknown model",
	} {
		if got := parseProcessor(text); got != want {
			t.Errorf("processor: got %q, want %q", got, want)
		}
	}
}

func TestAlike(t *testing.T) {
	this := Host{Processor: "Fast", Cores: 2, Memory: 16 << 30, Kernel: "6.1"}
	for name, test := range map[string]struct {
		change func(*Host)
		want   bool
	}{
		"the same":         {func(*Host) {}, true},
		"another kernel":   {func(h *Host) { h.Kernel = "6.2" }, true},
		"a kernel's share": {func(h *Host) { h.Memory -= 1 << 28 }, true},
		"more memory":      {func(h *Host) { h.Memory *= 2 }, false},
		"more cores":       {func(h *Host) { h.Cores = 4 }, false},
		"another model":    {func(h *Host) { h.Processor = "Slow" }, false},
	} {
		other := this
		test.change(&other)
		if got := this.Alike(other); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestDescribe(t *testing.T) {
	h, err := Describe()
	if err != nil || h.Cores < 1 || h.Memory < 1<<20 || h.Kernel == "" || h.Processor == "" {
		t.Errorf("got %+v, %v", h, err)
	}
}
