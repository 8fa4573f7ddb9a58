package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	restful "github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/component-base/version"
	builder2 "k8s.io/kube-openapi/pkg/builder"
	builder3 "k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const gvkExtension = "x-kubernetes-group-version-kind"

// Publisher serves the descriptions of one server's routes and types.
type Publisher struct {
	scheme *runtime.Scheme
	// names is built at the first use, from every type in the scheme.
	names func() *apiopenapi.DefinitionNamer
}

// NewPublisher describes the types of scheme.
func NewPublisher(scheme *runtime.Scheme) *Publisher {
	return &Publisher{scheme: scheme, names: sync.OnceValue(func() *apiopenapi.DefinitionNamer {
		return apiopenapi.NewDefinitionNamer(scheme)
	})}
}

// definitionName leaves out the hub version, which no client may see.
func (p *Publisher) definitionName(name string) (string, spec.Extensions) {
	name, extensions := p.names().GetDefinitionName(name)
	kinds, ok := extensions[gvkExtension].([]any)
	if !ok {
		return name, extensions
	}
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(kind any) bool {
		return kind.(map[string]any)["version"] == runtime.APIVersionInternal
	})
	if len(kinds) == 0 {
		return name, nil
	}
	return name, spec.Extensions{gvkExtension: kinds}
}

func (p *Publisher) v2Config() *common.Config {
	config := genericapiserver.DefaultOpenAPIConfig(GetOpenAPIDefinitions, p.names())
	config.GetDefinitionName = p.definitionName
	config.Info.Title = "Kubernetes"
	config.Info.Version = strings.Split(version.Get().String(), "-")[0]
	Secure(config, nil)
	return config
}

func (p *Publisher) v3Config() *common.OpenAPIV3Config {
	config := genericapiserver.DefaultOpenAPIV3Config(GetOpenAPIDefinitions, p.names())
	config.GetDefinitionName = p.definitionName
	config.Info.Title = "Kubernetes"
	config.Info.Version = strings.Split(version.Get().String(), "-")[0]
	Secure(nil, config)
	return config
}

// Secure describes, in either configuration, how a client proves who it is and what it is told
// if it does not.
func Secure(v2 *common.Config, v3 *common.OpenAPIV3Config) {
	const scheme, unauthorized = "BearerToken", "Unauthorized"
	properties := spec.SecuritySchemeProps{Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication"}
	needed := []map[string][]string{{scheme: {}}}
	if v2 != nil {
		v2.SecurityDefinitions = &spec.SecurityDefinitions{scheme: {SecuritySchemeProps: properties}}
		v2.DefaultSecurity = needed
		v2.CommonResponses = map[int]spec.Response{
			http.StatusUnauthorized: {ResponseProps: spec.ResponseProps{Description: unauthorized}},
		}
	}
	if v3 != nil {
		v3.SecuritySchemes = spec3.SecuritySchemes{scheme: {SecuritySchemeProps: spec3.SecuritySchemeProps{
			Type: properties.Type, Name: properties.Name, In: properties.In, Description: properties.Description,
		}}}
		v3.DefaultSecurity = needed
		v3.CommonResponses = map[int]*spec3.Response{
			http.StatusUnauthorized: {ResponseProps: spec3.ResponseProps{Description: unauthorized}},
		}
	}
}

// Install serves /openapi/v2 and /openapi/v3 for the container's routes.
func (p *Publisher) Install(container *restful.Container, paths *mux.PathRecorderMux) {
	v2 := handler.NewOpenAPIServiceLazy(cached.Once(cached.Func(func() (*spec.Swagger, string, error) {
		swagger, err := builder2.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(container.RegisteredWebServices()), p.v2Config())
		if err != nil {
			return nil, "", err
		}
		swagger.Definitions = handler.PruneDefaults(swagger.Definitions)
		return swagger, "built-in", nil
	})))
	v2.RegisterOpenAPIVersionedService("/openapi/v2", paths)

	v3 := &v3Service{documents: handler3.NewOpenAPIService(), hashes: map[string]string{}}
	for _, service := range container.RegisteredWebServices() {
		v3.add(p, strings.TrimPrefix(service.RootPath(), "/"), service)
	}
	paths.Handle("/openapi/v3", http.HandlerFunc(v3.serveRoot))
	paths.HandlePrefix("/openapi/v3/", http.HandlerFunc(v3.serveDocument))
}

// v3Service lists the documents without building them. The library's own list is made
// of hashes of the finished documents; here a hash stands for what they are built from.
type v3Service struct {
	documents *handler3.OpenAPIService
	hashes    map[string]string
}

func (s *v3Service) add(p *Publisher, path string, service *restful.WebService) {
	s.documents.UpdateGroupVersionLazy(path, cached.Once(cached.Func(func() (*spec3.OpenAPI, string, error) {
		document, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{service}), p.v3Config())
		if err != nil {
			return nil, "", err
		}
		narrowKinds(document, path)
		return document, s.hashes[path], nil
	})))
	sum := sha256.New()
	fmt.Fprintln(sum, version.Get().String(), path)
	for _, route := range service.Routes() {
		fmt.Fprintln(sum, route.Method, route.Path)
	}
	s.hashes[path] = strings.ToUpper(hex.EncodeToString(sum.Sum(nil)))
}

func (s *v3Service) serveRoot(w http.ResponseWriter, _ *http.Request) {
	root := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for path, hash := range s.hashes {
		root.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{
			ServerRelativeURL: "/openapi/v3/" + path + "?" + url.Values{"hash": {hash}}.Encode(),
		}
	}
	w.Header().Set("Content-Type", "application/json")
	// The list is short-lived for a reader: groups come and go with their servers.
	_ = json.NewEncoder(w).Encode(root)
}

func (s *v3Service) serveDocument(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/openapi/v3/")
	hash, known := s.hashes[path]
	if !known {
		http.NotFound(w, r)
		return
	}
	if asked := r.URL.Query().Get("hash"); asked == hash {
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123))
	}
	plain := r.Clone(r.Context())
	plain.URL.RawQuery = ""
	s.documents.HandleGroupVersion(w, plain)
}

// narrowKinds keeps, of the kinds that exist in every group (WatchEvent, DeleteOptions), only
// the document's own and the core one.
func narrowKinds(document *spec3.OpenAPI, path string) {
	if document.Components == nil {
		return
	}
	own := groupVersion(path)
	for _, definition := range document.Components.Schemas {
		kinds, ok := definition.Extensions[gvkExtension].([]any)
		if !ok || len(kinds) < 2 {
			continue
		}
		near := slices.DeleteFunc(slices.Clone(kinds), func(kind any) bool {
			k := kind.(map[string]any)
			everywhere := k["kind"] == "WatchEvent" || k["kind"] == "DeleteOptions"
			core := k["group"] == "" && k["version"] == "v1"
			return everywhere && !core && (k["group"] != own.Group || k["version"] != own.Version)
		})
		definition.Extensions[gvkExtension] = near
	}
}

func groupVersion(path string) schema.GroupVersion {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}
	case len(parts) == 3:
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}
	}
	return schema.GroupVersion{}
}
