package apiserver

import (
	"strings"
	"testing"

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
