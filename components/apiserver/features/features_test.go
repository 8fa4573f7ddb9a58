package features

import (
	"testing"

	"k8s.io/component-base/featuregate"
)

func TestGates(t *testing.T) {
	gates := featuregate.NewFeatureGate()
	if err := Register(gates); err != nil {
		t.Fatal(err)
	}
	if on := On(gates); len(on) > 0 {
		t.Errorf("on by default: %v", on)
	}
	// A command line closes the set.
	gates.Close()
	if err := Register(gates); err != nil {
		t.Errorf("a second server in the process: %v", err)
	}
	if err := gates.Set("GenericWorkload=true"); err != nil {
		t.Fatal(err)
	}
	if !On(gates).Has(GenericWorkload) {
		t.Error("GenericWorkload was turned on and is off")
	}
}
