package apiserver

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources"
)

func TestEnabledAPIs(t *testing.T) {
	entries := resources.All()
	scheme, err := resource.NewScheme(entries)
	if err != nil {
		t.Fatal(err)
	}
	asked := options.NewAPIEnablementOptions()
	asked.RuntimeConfig["batch/v1"] = "false"
	asked.RuntimeConfig["autoscaling/v1"] = "false"
	enabled, err := enabledAPIs(asked, scheme, entries)
	if err != nil {
		t.Fatal(err)
	}
	for gvr, want := range map[schema.GroupVersionResource]bool{
		{Group: "batch", Version: "v1", Resource: "jobs"}:                           false,
		{Group: "autoscaling", Version: "v1", Resource: "horizontalpodautoscalers"}: false,
		{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}: true,
		{Version: "v1", Resource: "pods"}:                                           true,
	} {
		if got := enabled.ResourceEnabled(gvr); got != want {
			t.Errorf("%s is served: %v, want %v", gvr, got, want)
		}
	}
	asked.RuntimeConfig = map[string]string{"no.such.group/v1": "true"}
	if _, err := enabledAPIs(asked, scheme, entries); err == nil || !strings.Contains(err.Error(), "no.such.group") {
		t.Errorf("a group that nobody serves was taken: %v", err)
	}
}

// FuzzRuntimeConfig gives --runtime-config anything: it is taken or refused, never a panic.
func FuzzRuntimeConfig(f *testing.F) {
	entries := resources.All()
	scheme, err := resource.NewScheme(entries)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("batch/v1=false,api/all=true")
	f.Add("apps/v1/deployments=false")
	f.Add("api/ga=,/=true,a/b/c/d=1")
	f.Fuzz(func(t *testing.T, text string) {
		asked := options.NewAPIEnablementOptions()
		flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
		asked.AddFlags(flags)
		if flags.Set("runtime-config", text) != nil {
			return
		}
		if enabled, err := enabledAPIs(asked, scheme, entries); (enabled == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", text, enabled, err)
		}
	})
}
