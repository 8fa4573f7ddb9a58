package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	netutils "k8s.io/utils/net"
)

func (c Config) serviceProxy() rest.Storage {
	return &endpoint{
		object:  func() runtime.Object { return &corev1.ServiceProxyOptions{} },
		options: func() runtime.Object { return &corev1.ServiceProxyOptions{} },
		path:    true, methods: proxyMethods(),
		locate: func(ctx context.Context, id string, options runtime.Object) (*url.URL, http.RoundTripper, error) {
			location, err := c.serviceLocation(ctx, id)
			if err != nil {
				return nil, nil, err
			}
			location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, options.(*corev1.ServiceProxyOptions).Path)
			return location, c.Direct, nil
		},
	}
}

// serviceLocation reads "name", "name:port" or "scheme:name:port", where the port is a name or a number,
// and picks one of the Service's pods.
func (c Config) serviceLocation(ctx context.Context, id string) (*url.URL, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	namespace := genericrequest.NamespaceValue(ctx)
	port, err := c.portName(ctx, namespace, name, port)
	if err != nil {
		return nil, err
	}
	slices, err := c.Endpoints.GetEndpointSlices(namespace, name)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if len(slices) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	host, err := translator.RandomEndpoint(name, slices, port, c.Family, func(endpoint *discoveryv1.Endpoint) bool {
		return c.isPods(ctx, endpoint)
	})
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: scheme, Host: host}, nil
}

// portName turns a port's number into its name.
func (c Config) portName(ctx context.Context, namespace, service, port string) (string, error) {
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return port, nil //nolint:nilerr // it is a name already
	}
	obj, err := c.Objects.GetLatest(ctx, corev1.Resource("services"), namespace, service)
	if err != nil {
		return "", err
	}
	for _, declared := range obj.(*corev1.Service).Spec.Ports {
		if int64(declared.Port) == number {
			return declared.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, service))
}

// isPods says whether an endpoint is a pod's own address: endpoints can be written by many, and must not
// lead this server to wherever they please.
func (c Config) isPods(ctx context.Context, endpoint *discoveryv1.Endpoint) bool {
	ref := endpoint.TargetRef
	if ref == nil || ref.Kind != "Pod" || len(endpoint.Addresses) == 0 {
		return false
	}
	obj, err := c.Objects.Get(ctx, corev1.Resource("pods"), ref.Namespace, ref.Name)
	if err != nil {
		return false
	}
	for _, ip := range obj.(*corev1.Pod).Status.PodIPs {
		if ip.IP == endpoint.Addresses[0] {
			return true
		}
	}
	return false
}

func (c Config) nodeProxy() rest.Storage {
	return &endpoint{
		object:  func() runtime.Object { return &corev1.NodeProxyOptions{} },
		options: func() runtime.Object { return &corev1.NodeProxyOptions{} },
		path:    true, methods: proxyMethods(),
		locate: func(ctx context.Context, id string, options runtime.Object) (*url.URL, http.RoundTripper, error) {
			location, transport, err := c.nodeLocation(ctx, id)
			if err != nil {
				return nil, nil, err
			}
			location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, options.(*corev1.NodeProxyOptions).Path)
			return location, transport, nil
		},
	}
}

// nodeLocation is the kubelet, unless another port is asked for.
func (c Config) nodeLocation(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	at, err := c.Kubelets.of(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if err := proxyable(ctx, at.host); err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if port == "" || port == at.port {
		return &url.URL{Scheme: "https", Host: at.address()}, c.Kubelets.verified, nil
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(at.host, port)}, c.Direct, nil
}

// proxyable refuses addresses that would lead to this machine itself.
func proxyable(ctx context.Context, host string) error {
	addresses := []net.IP{netutils.ParseIPSloppy(host)}
	if addresses[0] == nil {
		found, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
		if err != nil {
			return err
		}
		addresses = found
	}
	for _, ip := range addresses {
		if !ip.IsGlobalUnicast() {
			return errors.New("address not allowed")
		}
	}
	return nil
}
