package apiserver

import (
	"errors"
	"fmt"
	"slices"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/server/resourceconfig"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/klog/v2"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"

	"github.com/plumbline/plumbline/components/apiserver/features"
	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// enabledAPIs are the versions and resources of the entries that are on by default or by
// --runtime-config. It is about what is built in; custom resources and aggregated servers have no
// say in it.
func enabledAPIs(asked *options.APIEnablementOptions, scheme *runtime.Scheme, entries []resource.Entry) (*serverstorage.ResourceConfig, error) {
	if errs := asked.Validate(scheme, apiextensions.Scheme, aggregatorscheme.Scheme); len(errs) > 0 {
		return nil, fmt.Errorf("--runtime-config: %w", errors.Join(errs...))
	}
	enabled := serverstorage.NewResourceConfig()
	for _, entry := range entries {
		enabled.DisableVersions(entry.ID().OnRequest...)
	}
	// One resource that is on by default turns its version on for all.
	for _, entry := range entries {
		enabled.EnableVersions(entry.ID().DefaultVersions()...)
	}
	enabled, err := resourceconfig.MergeAPIResourceConfigs(enabled, asked.RuntimeConfig, scheme)
	if err == nil {
		err = checkBuilt(enabled, resource.ServedVersions(entries))
	}
	if err != nil {
		return nil, fmt.Errorf("--runtime-config: %w", err)
	}
	return enabled, nil
}

// checkBuilt refuses to turn a version on that the scheme knows but no entry serves: a client
// would look for it in vain.
func checkBuilt(enabled *serverstorage.ResourceConfig, built []schema.GroupVersion) error {
	asked := map[schema.GroupVersion]bool{}
	for gv, on := range enabled.ExplicitGroupVersionConfigs {
		asked[gv] = on
	}
	for gvr, on := range enabled.ExplicitResourceConfigs {
		asked[gvr.GroupVersion()] = asked[gvr.GroupVersion()] || on
	}
	var unknown []string
	for gv, on := range asked {
		if on && !slices.Contains(built, gv) {
			unknown = append(unknown, gv.String())
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("group version %s that has not been registered", unknown[0])
}

// warnOfGates says which resources stay off although their version is on.
func warnOfGates(enabled *serverstorage.ResourceConfig, entries []resource.Entry, on features.Set) {
	for _, entry := range entries {
		id := entry.ID()
		if id.Feature == "" || on.Has(id.Feature) {
			continue
		}
		if slices.ContainsFunc(id.Versions(), func(gv schema.GroupVersion) bool { return enabled.ResourceEnabled(gv.WithResource(id.Name)) }) {
			klog.InfoS("A resource is not served because its feature gate is off", "resource", id.GroupResource(), "featureGate", id.Feature)
		}
	}
}
