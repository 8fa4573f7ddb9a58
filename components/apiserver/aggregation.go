package apiserver

import (
	"crypto/tls"
	"net/url"

	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
)

// serviceResolver finds the address behind a Service for webhooks and aggregated servers.
func (s *server) serviceResolver() (webhook.ServiceResolver, error) {
	services := s.informers.Core().V1().Services().Lister()
	resolver := aggregator.NewClusterIPServiceResolver(services)
	if s.config.AggregatorRouting {
		slices, err := proxy.NewEndpointSliceIndexerGetter(s.informers.Discovery().V1().EndpointSlices())
		if err != nil {
			return nil, err
		}
		resolver = aggregator.NewEndpointServiceResolver(services, slices)
	}
	self, err := url.Parse(s.generic.LoopbackClientConfig.Host)
	if err != nil {
		return nil, err
	}
	return aggregator.NewLoopbackServiceResolver(resolver, self), nil
}

// unverifiedTLS is for pods and services that are proxied to: nobody vouches for their
// certificates, and the API server passes no credentials of its own on to them.
func unverifiedTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
