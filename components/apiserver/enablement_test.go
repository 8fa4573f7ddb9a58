package apiserver

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/compatibility"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources"
)

// runtimeConfig is what --runtime-config makes of the APIs.
func runtimeConfig(t *testing.T, flag string) (*serverstorage.ResourceConfig, error) {
	t.Helper()
	entries := resources.All()
	scheme, err := resource.NewScheme(entries)
	if err != nil {
		t.Fatal(err)
	}
	asked := options.NewAPIEnablementOptions()
	if err := asked.RuntimeConfig.Set(flag); err != nil {
		t.Fatal(err)
	}
	return enabledAPIs(asked, scheme, entries)
}

func TestEnabledAPIs(t *testing.T) {
	groups := schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1beta1", Resource: "podgroups"}
	workloads := groups.GroupVersion().WithResource("workloads")
	classes := schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}
	jobs := schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	scalers := schema.GroupVersionResource{Group: "autoscaling", Version: "v1", Resource: "horizontalpodautoscalers"}
	scalersV2 := schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	for flag, want := range map[string]map[schema.GroupVersionResource]bool{
		"":                                    {groups: false, workloads: false, classes: true, jobs: true, scalers: true},
		"batch/v1=false,autoscaling/v1=false": {jobs: false, scalers: false, scalersV2: true, classes: true},
		"scheduling.k8s.io/v1beta1=true":      {groups: true, workloads: true, classes: true},
		"scheduling.k8s.io/v1beta1/podgroups=true": {groups: true, workloads: false},
		"api/all=true":               {groups: true, classes: true},
		"api/beta=true":              {groups: true, jobs: true},
		"api/alpha=true":             {groups: false},
		"api/ga=false,batch/v1=true": {groups: false, classes: false, jobs: true},
		"api/all=true,scheduling.k8s.io/v1beta1=false":        {groups: false, classes: true},
		"apps/v1beta1=false,resource.k8s.io/v1alpha3=false":   {jobs: true},
		"apiextensions.k8s.io/v1=true":                        {jobs: true},
		"scheduling.k8s.io/v1beta1,scheduling.k8s.io/v1=true": {groups: true, classes: true},
	} {
		enabled, err := runtimeConfig(t, flag)
		if err != nil {
			t.Errorf("%q: %v", flag, err)
			continue
		}
		for gvr, on := range want {
			if got := enabled.ResourceEnabled(gvr); got != on {
				t.Errorf("%q: %s is served: %v, want %v", flag, gvr, got, on)
			}
		}
	}
}

func TestRuntimeConfigIsRefused(t *testing.T) {
	for flag, want := range map[string]string{
		"no.such.group/v1=true":                    "unknown api groups no.such.group/v1",
		"batch/v9=true":                            "group version batch/v9 that has not been registered",
		"scheduling.k8s.io/v1alpha3=true":          "group version scheduling.k8s.io/v1alpha3 that has not been registered",
		"resource.k8s.io/v1beta1/devices=true":     "group version resource.k8s.io/v1beta1 that has not been registered",
		"batch=true":                               "runtime-config invalid key batch",
		"batch/v1=perhaps":                         "invalid value of batch/v1: perhaps",
		"api/beta=perhaps":                         "invalid value api/beta=perhaps",
		"api/all=false":                            "invalid runtime-config with only api/all=false",
		"scheduling.k8s.io/v1beta1/PodGroups=true": "resource is always lowercase plural",
	} {
		if _, err := runtimeConfig(t, flag); err == nil || !strings.Contains(err.Error(), "--runtime-config: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", flag, err, want)
		}
	}
}

func TestAnUnknownFeatureGateIsRefused(t *testing.T) {
	t.Cleanup(compatibility.DefaultComponentGlobalsRegistry.Reset)
	cmd := Command()
	cmd.SetArgs([]string{"--feature-gates=GenericWorkload=false,NoSuchGate=true"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "unrecognized feature gate: NoSuchGate") {
		t.Errorf("got %v", err)
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
