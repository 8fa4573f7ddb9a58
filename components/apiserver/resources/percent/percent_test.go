package percent

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestShares(t *testing.T) {
	at := field.NewPath("n")
	for text, want := range map[string]string{
		"3": "", "50%": "", "100%": "",
		"-1":   "n: Invalid value: -1: must be greater than or equal to 0",
		"half": `n: Invalid value: "half": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`,
		"101%": `n: Invalid value: "101%": must not be greater than 100%`,
	} {
		v := intstr.Parse(text)
		got := ""
		if errs := append(Validate(&v, at), AtMostAll(&v, at)...); len(errs) > 0 {
			got = errs[0].Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestIsZero(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "0%": true, "1": false, "1%": false} {
		if v := intstr.Parse(text); IsZero(&v) != want {
			t.Errorf("%s: zero is %t", text, !want)
		}
	}
	if !IsZero(nil) {
		t.Error("nothing is not zero")
	}
}
