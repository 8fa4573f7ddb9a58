package apiserver

import (
	"fmt"
	"maps"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/stack"
)

// installer puts the declared resources onto a server. It stands in for
// GenericAPIServer.InstallAPIGroups, which builds the structure of every type of every
// group for server-side apply before the server can answer.
type installer struct {
	server    *genericapiserver.GenericAPIServer
	config    *genericapiserver.Config
	scheme    *runtime.Scheme
	codecs    serializer.CodecFactory
	structure managedfields.TypeConverter
	// remember is told what each entry made.
	remember func(resource.Identity, map[string]rest.Storage)
}

// install makes every entry's storage and routes. More are endpoints below resources that need
// other parts of the server than a declaration can reach.
func (i *installer) install(entries []resource.Entry, env *resource.Env, more map[schema.GroupVersion]map[string]rest.Storage) error {
	storages := map[schema.GroupVersion]map[string]rest.Storage{}
	for _, entry := range entries {
		endpoints, err := entry.Storage(env)
		if err != nil {
			return err
		}
		i.remember(entry.ID(), endpoints)
		for path, endpoint := range endpoints {
			for _, gv := range entry.ID().Versions() {
				if !i.config.MergedResourceConfig.ResourceEnabled(gv.WithResource(entry.ID().Name)) {
					continue
				}
				if storages[gv] == nil {
					storages[gv] = map[string]rest.Storage{}
				}
				if storages[gv][path] != nil {
					return fmt.Errorf("two resources claim %s in %s", path, gv)
				}
				storages[gv][path] = endpoint
			}
		}
		i.server.RegisterDestroyFunc(func() {
			for _, endpoint := range endpoints {
				endpoint.Destroy()
			}
		})
	}
	for gv, endpoints := range more {
		if storages[gv] != nil {
			maps.Copy(storages[gv], endpoints)
		}
	}
	done := map[string]bool{}
	for _, gv := range resource.ServedVersions(entries) {
		if done[gv.Group] {
			continue
		}
		done[gv.Group] = true
		if err := i.installGroup(i.scheme.PrioritizedVersionsForGroup(gv.Group), storages); err != nil {
			return fmt.Errorf("group %q: %w", gv.Group, err)
		}
	}
	return nil
}

func (i *installer) installGroup(versions []schema.GroupVersion, storages map[schema.GroupVersion]map[string]rest.Storage) error {
	var served []schema.GroupVersion
	servedBy := map[string][]string{}
	for _, gv := range versions {
		if len(storages[gv]) == 0 {
			continue
		}
		served = append(served, gv)
		for path := range storages[gv] {
			servedBy[path] = append(servedBy[path], gv.String())
		}
	}
	for _, gv := range served {
		if err := i.installVersion(gv, storages[gv], servedBy); err != nil {
			return err
		}
	}
	if len(served) == 0 {
		return nil
	}
	if served[0].Group == "" {
		i.announceCore()
		return nil
	}
	i.announce(served)
	return nil
}

func (i *installer) installVersion(gv schema.GroupVersion, storage map[string]rest.Storage, servedBy map[string][]string) error {
	root, manager := "/apis", i.server.AggregatedDiscoveryGroupManager
	if gv.Group == "" {
		root, manager = "/api", i.server.AggregatedLegacyDiscoveryGroupManager
	}
	version := &genericapi.APIGroupVersion{
		Root:                        root,
		GroupVersion:                gv,
		Storage:                     storage,
		AllServedVersionsByResource: servedBy,
		OptionsExternalVersion:      &schema.GroupVersion{Version: "v1"},
		Serializer:                  i.codecs,
		ParameterCodec:              runtime.NewParameterCodec(i.scheme),
		Typer:                       i.scheme,
		Creater:                     stack.Creater{ObjectCreater: i.scheme},
		Convertor:                   i.scheme,
		ConvertabilityChecker:       i.scheme,
		Defaulter:                   i.scheme,
		Namer:                       runtime.Namer(meta.NewAccessor()),
		// The scheme's own would write the version into what it is asked to convert.
		UnsafeConvertor:            resource.Sharing{Scheme: i.scheme},
		TypeConverter:              i.structure,
		EquivalentResourceRegistry: i.server.EquivalentResourceRegistry,
		Authorizer:                 i.server.Authorizer,
		Admit:                      i.config.AdmissionControl,
		MinRequestTimeout:          time.Duration(i.config.MinRequestTimeout) * time.Second,
		MaxRequestBodyBytes:        i.config.MaxRequestBodyBytes,
	}
	resources, _, err := version.InstallREST(i.server.Handler.GoRestfulContainer)
	if err != nil {
		return err
	}
	manager.AddGroupVersion(gv.Group, apidiscoveryv2.APIVersionDiscovery{
		Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
		Version:   gv.Version,
		Resources: resources,
	})
	for path, endpoint := range storage {
		if ready, ok := endpoint.(rest.StorageWithReadiness); ok {
			i.server.StorageReadinessHook.RegisterStorage(metav1.GroupVersionResource{Group: gv.Group, Version: gv.Version, Resource: path}, ready)
		}
	}
	return nil
}

// announceCore answers /api.
func (i *installer) announceCore() {
	handler := aggregated.WrapAggregatedDiscoveryToHandler(
		discovery.NewLegacyRootAPIHandler(i.config.DiscoveryAddresses, i.codecs, "/api"),
		i.server.AggregatedLegacyDiscoveryGroupManager, i.server.AggregatedLegacyDiscoveryGroupManager)
	i.server.Handler.GoRestfulContainer.Add(handler.GenerateWebService("/api", metav1.APIVersions{}))
}

// announce answers /apis/GROUP and lists the group in /apis.
func (i *installer) announce(versions []schema.GroupVersion) {
	group := metav1.APIGroup{Name: versions[0].Group}
	for _, gv := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	group.PreferredVersion = group.Versions[0]
	i.server.DiscoveryGroupManager.AddGroup(group)
	i.server.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(i.codecs, group).WebService())
}
