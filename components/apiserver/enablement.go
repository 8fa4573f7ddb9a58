package apiserver

import (
	"errors"
	"fmt"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/server/resourceconfig"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// enabledAPIs are the versions and resources of the entries that --runtime-config leaves on. It
// turns off what is built in; custom resources and aggregated servers have no say in it.
func enabledAPIs(asked *options.APIEnablementOptions, scheme *runtime.Scheme, entries []resource.Entry) (*serverstorage.ResourceConfig, error) {
	if errs := asked.Validate(scheme, apiextensions.Scheme, aggregatorscheme.Scheme); len(errs) > 0 {
		return nil, fmt.Errorf("--runtime-config: %w", errors.Join(errs...))
	}
	served := serverstorage.NewResourceConfig()
	served.EnableVersions(resource.ServedVersions(entries)...)
	enabled, err := resourceconfig.MergeAPIResourceConfigs(served, asked.RuntimeConfig, scheme)
	if err != nil {
		return nil, fmt.Errorf("--runtime-config: %w", err)
	}
	return enabled, nil
}
