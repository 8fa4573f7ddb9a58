package apiserver

import (
	"net/http"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apiextensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	apiextensionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationv1beta1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	aggregatoropenapi "k8s.io/kube-aggregator/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"

	"github.com/plumbline/plumbline/components/apiserver/openapi"
	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// newChain links the three servers: a request goes to the aggregator, from there to the
// built-in resources, from there to custom resources, and ends in a 404.
func (s *server) newChain() (*aggregator.APIAggregator, error) {
	nobody := notfoundhandler.New(s.codecs, genericapifilters.NoMuxAndDiscoveryIncompleteKey)
	custom, err := s.newExtensions(genericapiserver.NewEmptyDelegateWithCustomHandler(nobody))
	if err != nil {
		return nil, err
	}
	core, err := s.newCore(custom.GenericAPIServer)
	if err != nil {
		return nil, err
	}
	return s.newAggregator(core, custom)
}

// newCore serves the built-in resources.
func (s *server) newCore(next genericapiserver.DelegationTarget) (*genericapiserver.GenericAPIServer, error) {
	config := *s.generic
	config.OpenAPIConfig, config.OpenAPIV3Config = nil, nil
	core, err := config.Complete(s.informers).New("kube-apiserver", next)
	if err != nil {
		return nil, err
	}
	services, err := s.newServiceRanges()
	if err != nil {
		return nil, err
	}
	env := &resource.Env{
		Scheme:        s.scheme,
		Features:      s.features,
		RESTOptions:   s.layout,
		Store:         s.storeOf,
		Loopback:      s.client,
		Services:      services,
		Authenticator: config.Authentication.Authenticator,
		Authorizer:    config.Authorization.Authorizer,
		Rules:         config.RuleResolver,
		Audiences:     config.Authentication.APIAudiences,
	}
	in := &installer{server: core, config: &config, scheme: s.scheme, codecs: s.codecs, structure: openapi.NewTypeConverter(s.published), remember: s.remember}
	more, err := s.endpoints()
	if err != nil {
		return nil, err
	}
	if err := in.install(s.entries, env, more); err != nil {
		return nil, err
	}
	if err := s.publishIssuer(core, &config); err != nil {
		return nil, err
	}
	s.published.Install(core.Handler.GoRestfulContainer, core.Handler.NonGoRestfulMux)
	core.AddPostStartHookOrDie("storage-readiness", core.StorageReadinessHook.Hook)
	core.AddPostStartHookOrDie("rbac/bootstrap-roles", s.waitForBootstrap)
	core.AddPostStartHookOrDie("start-service-ip-repair-controllers", s.runServiceRepair)
	core.AddPostStartHookOrDie("start-kubernetes-service-cidr-controller", s.runServiceCIDR)
	return core, nil
}

func (s *server) remember(id resource.Identity, endpoints map[string]rest.Storage) {
	if stored, ok := endpoints[id.Name].(resource.Registered); ok {
		s.stores[id.GroupResource()] = stored.Registry()
	}
}

// newExtensions serves custom resources.
func (s *server) newExtensions(next genericapiserver.DelegationTarget) (*apiextensions.CustomResourceDefinitions, error) {
	config := *s.generic
	config.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	etcd := *s.config.Etcd
	etcd.StorageConfig.Codec = apiextensions.Codecs.LegacyCodec(apiextensionsv1beta1.SchemeGroupVersion, apiextensionsv1.SchemeGroupVersion)
	// v1beta1 is what upstream stores: it is smaller.
	etcd.StorageConfig.EncodeVersioner = runtime.NewMultiGroupVersioner(apiextensionsv1beta1.SchemeGroupVersion, schema.GroupKind{Group: apiextensionsv1beta1.GroupName})
	etcd.SkipHealthEndpoints = true
	if err := etcd.ApplyTo(&config); err != nil {
		return nil, err
	}
	config.MergedResourceConfig = apiextensions.DefaultAPIResourceConfigSource()
	describe(&config, apiextensionsopenapi.GetOpenAPIDefinitions, apiextensions.Scheme)
	resolver, err := s.serviceResolver()
	if err != nil {
		return nil, err
	}
	extensions := &apiextensions.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: config, SharedInformerFactory: s.informers},
		ExtraConfig: apiextensions.ExtraConfig{
			CRDRESTOptionsGetter: apiextensionsoptions.NewCRDRESTOptionsGetter(etcd, config.ResourceTransformers, config.StorageObjectCountTracker),
			MasterCount:          1,
			ServiceResolver:      resolver,
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(s.proxied, config.EgressSelector, config.LoopbackClientConfig, config.TracerProvider),
		},
	}
	return extensions.Complete().New(next)
}

// newAggregator stands in front and sends groups that others serve to them.
func (s *server) newAggregator(core *genericapiserver.GenericAPIServer, custom *apiextensions.CustomResourceDefinitions) (*aggregator.APIAggregator, error) {
	config := *s.generic
	config.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	config.SkipOpenAPIInstallation = true
	etcd := *s.config.Etcd
	etcd.StorageConfig.Codec = aggregatorscheme.Codecs.LegacyCodec(apiregistrationv1.SchemeGroupVersion, apiregistrationv1beta1.SchemeGroupVersion)
	etcd.StorageConfig.EncodeVersioner = runtime.NewMultiGroupVersioner(apiregistrationv1.SchemeGroupVersion, schema.GroupKind{Group: apiregistrationv1.GroupName})
	etcd.SkipHealthEndpoints = true
	if err := etcd.ApplyTo(&config); err != nil {
		return nil, err
	}
	config.MergedResourceConfig = aggregator.DefaultAPIResourceConfigSource()
	describe(&config, aggregatoropenapi.GetOpenAPIDefinitions, aggregatorscheme.Scheme)
	resolver, err := s.serviceResolver()
	if err != nil {
		return nil, err
	}
	front := aggregator.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: config, SharedInformerFactory: s.informers},
		ExtraConfig: aggregator.ExtraConfig{
			ProxyClientCertFile: s.config.ProxyClientCert,
			ProxyClientKeyFile:  s.config.ProxyClientKey,
			ServiceResolver:     resolver,
			ProxyTransport:      s.proxied,
		},
	}
	server, err := front.Complete().NewWithDelegate(core)
	if err != nil {
		return nil, err
	}
	return server, s.registerAPIServices(server, core, custom)
}

// describe gives a library server its own small OpenAPI documents.
func describe(config *genericapiserver.Config, definitions common.GetOpenAPIDefinitions, scheme *runtime.Scheme) {
	names := apiopenapi.NewDefinitionNamer(scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, names)
	config.OpenAPIConfig.Info.Title = "Kubernetes"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, names)
	config.OpenAPIV3Config.Info.Title = "Kubernetes"
	openapi.Secure(config.OpenAPIConfig, config.OpenAPIV3Config)
}

func newProxyTransport() *http.Transport {
	return utilnet.SetTransportDefaults(&http.Transport{
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     unverifiedTLS(),
	})
}
