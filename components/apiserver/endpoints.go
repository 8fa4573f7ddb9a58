package apiserver

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/proxy"

	"github.com/plumbline/plumbline/components/apiserver/authentication/accounttoken"
	"github.com/plumbline/plumbline/components/apiserver/connect"
)

// endpoints are those below resources that need parts of the server itself.
func (s *server) endpoints() (map[schema.GroupVersion]map[string]rest.Storage, error) {
	core := map[string]rest.Storage{}
	c := &s.config.Authentication
	if c.SigningKeyFile != "" {
		issuer, err := accounttoken.NewIssuer(c.Issuers[0], c.SigningKeyFile)
		if err != nil {
			return nil, err
		}
		core["serviceaccounts/token"] = &accounttoken.Endpoint{Issuer: issuer, Audiences: c.Audiences, Objects: s.direct,
			MaxSeconds: int64(c.MaxTokenExpiration.Seconds()), Extend: c.ExtendExpiration}
	}
	connections, err := s.connections()
	if err != nil {
		return nil, err
	}
	maps.Copy(core, connections)
	return map[schema.GroupVersion]map[string]rest.Storage{corev1.SchemeGroupVersion: core}, nil
}

// connections are the endpoints that pass requests on.
func (s *server) connections() (map[string]rest.Storage, error) {
	k := &s.config.Kubelet
	kubelets, err := connect.NewKubelets(s.direct, connect.KubeletConfig{
		CertFile: k.ClientCert, KeyFile: k.ClientKey, CAFile: k.CAFile, AddressTypes: k.AddressTypes, DialTimeout: k.Timeout,
	})
	if err != nil {
		return nil, fmt.Errorf("--kubelet-client-certificate: %w", err)
	}
	slices, err := proxy.NewEndpointSliceIndexerGetter(s.informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, err
	}
	return connect.New(connect.Config{
		Objects: s.direct, Kubelets: kubelets, Authorizer: s.generic.Authorization.Authorizer,
		Direct: s.proxied, Endpoints: slices, Family: s.repair.Addresses[0].Family(),
	}), nil
}
