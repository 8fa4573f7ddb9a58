// Package apiserver serves the Kubernetes API: a chain of an aggregator, the built-in
// resources and custom resources, behind authentication, authorization, audit, priority
// and fairness, and admission.
//
// The resources are declared, one file each, under resources/; package resource turns a
// declaration into endpoints and a store. What is here is composition.
package apiserver

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumbline/plumbline/components/apiserver/advertise"
	"github.com/plumbline/plumbline/components/apiserver/allocation"
	"github.com/plumbline/plumbline/components/apiserver/authentication/accounttoken"
	"github.com/plumbline/plumbline/components/apiserver/features"
	"github.com/plumbline/plumbline/components/apiserver/inprocess"
	"github.com/plumbline/plumbline/components/apiserver/openapi"
	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources"
	"github.com/plumbline/plumbline/components/apiserver/stack"
)

// server is what the parts of the chain are built from.
type server struct {
	config   *Config
	features features.Set
	// entries are the resources that there are with these features.
	entries   []resource.Entry
	scheme    *runtime.Scheme
	codecs    serializer.CodecFactory
	generic   *genericapiserver.Config
	layout    *etcdLayout
	published *openapi.Publisher
	client    kubernetes.Interface
	dynamic   dynamic.Interface
	informers informers.SharedInformerFactory
	stores    map[schema.GroupResource]*genericregistry.Store
	// direct reads and writes the stores.
	direct inprocess.Stores
	// rolesReady is closed when the roles every cluster starts with are stored and known.
	rolesReady  chan struct{}
	repair      *allocation.Repair
	advertiser  *advertise.Advertiser
	accountKeys []accounttoken.Key
	// proxied reaches services, pods and webhooks.
	proxied *http.Transport
}

// Run serves until ctx is done.
func Run(ctx context.Context, config *Config) error {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	s, err := newServer(ctx, config)
	if err != nil {
		return err
	}
	chain, err := s.newChain()
	if err != nil {
		return err
	}
	// What follows the stores directly need not wait for the listener.
	s.informers.Start(ctx.Done())
	s.startBootstrap(ctx)
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	withdrawn := s.startAdvertising(ctx)
	err = prepared.Run(ctx)
	<-withdrawn
	return err
}

func newServer(ctx context.Context, config *Config) (*server, error) {
	on := features.On(config.Server.ComponentGlobalsRegistry.FeatureGateFor(config.Server.ComponentName))
	s := &server{config: config, features: on, entries: resource.Enabled(resources.All(), on), stores: map[schema.GroupResource]*genericregistry.Store{}, rolesReady: make(chan struct{})}
	s.direct = s.storeOf
	var err error
	if s.scheme, err = resource.NewScheme(s.entries); err != nil {
		return nil, err
	}
	s.codecs = serializer.NewCodecFactory(s.scheme,
		serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	s.published = openapi.NewPublisher(s.scheme)
	s.layout = newEtcdLayout(config.Etcd, s.codecs, s.entries)
	s.proxied = newProxyTransport()
	if err := s.newGeneric(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// newGeneric makes the configuration that all servers of the chain share.
func (s *server) newGeneric(ctx context.Context) error {
	g := genericapiserver.NewConfig(s.codecs)
	s.generic = g
	if err := s.config.Server.ApplyTo(g); err != nil {
		return err
	}
	var err error
	if g.MergedResourceConfig, err = enabledAPIs(s.config.APIs, s.scheme, resources.All()); err != nil {
		return err
	}
	warnOfGates(g.MergedResourceConfig, resources.All(), s.features)
	if err := s.applyServing(); err != nil {
		return err
	}
	chain := g.BuildHandlerChainFunc
	g.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler { return stack.Handler(chain(api, c)) }
	g.LongRunningFunc = filters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	g.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	if err := s.newLoopback(); err != nil {
		return err
	}
	if err := s.config.Features.ApplyTo(g, s.client, s.informers); err != nil {
		return err
	}
	s.layout.counts = g.StorageObjectCountTracker
	awaitEtcd(ctx, s.config.Etcd.StorageConfig.Transport.ServerList)
	if err := s.config.Etcd.ApplyTo(g); err != nil {
		return err
	}
	s.layout.transformers = g.ResourceTransformers
	g.RESTOptionsGetter = s.layout
	if err := s.applyAuthentication(); err != nil {
		return err
	}
	if g.Authorization.Authorizer, g.RuleResolver, err = s.newAuthorizer(); err != nil {
		return err
	}
	if err := s.config.Audit.ApplyTo(g); err != nil {
		return err
	}
	return s.newAdmission()
}

// newLoopback makes the clients by which the server talks to itself.
func (s *server) newLoopback() error {
	loopback := s.generic.LoopbackClientConfig
	loopback.ContentConfig.ContentType = runtime.ContentTypeProtobuf
	loopback.DisableCompression = true
	loopback.QPS = -1
	var err error
	if s.client, err = kubernetes.NewForConfig(loopback); err != nil {
		return err
	}
	if s.dynamic, err = dynamic.NewForConfig(loopback); err != nil {
		return err
	}
	s.informers = s.newInformers()
	return nil
}

// storeOf finds a resource's finished store.
func (s *server) storeOf(gr schema.GroupResource) (*genericregistry.Store, error) {
	if store := s.stores[gr]; store != nil {
		return store, nil
	}
	return nil, fmt.Errorf("there is no store of %s", gr)
}
