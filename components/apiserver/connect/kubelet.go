// Package connect serves the endpoints that pass a request on: to a kubelet (logs, exec, attach,
// port-forward, a node's proxy), to a pod or to a Service.
package connect

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/transport"
)

const kubeletPort = 10250

// Objects reads stored objects.
type Objects interface {
	Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
	GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
}

// KubeletConfig is how this server proves itself to kubelets and knows them.
type KubeletConfig struct {
	CertFile, KeyFile, CAFile string
	// AddressTypes are tried in turn.
	AddressTypes []string
	// DialTimeout bounds the connection being made; 0 for none.
	DialTimeout time.Duration
}

// Kubelets finds kubelets.
type Kubelets struct {
	objects      Objects
	addressTypes []corev1.NodeAddressType
	// verified checks a kubelet's certificate, unverified does not.
	verified, unverified http.RoundTripper
}

// kubelet is where a node's kubelet listens.
type kubelet struct{ host, port string }

func (k kubelet) address() string { return net.JoinHostPort(k.host, k.port) }

// NewKubelets finds kubelets by their Node objects.
func NewKubelets(objects Objects, config KubeletConfig) (*Kubelets, error) {
	k := &Kubelets{objects: objects}
	for _, t := range config.AddressTypes {
		k.addressTypes = append(k.addressTypes, corev1.NodeAddressType(t))
	}
	var err error
	if k.verified, err = newTransport(config, config.CAFile == ""); err != nil {
		return nil, err
	}
	k.unverified, err = newTransport(config, true)
	return k, err
}

func newTransport(config KubeletConfig, insecure bool) (http.RoundTripper, error) {
	settings := &transport.Config{TLS: transport.TLSConfig{CertFile: config.CertFile, KeyFile: config.KeyFile, ReloadTLSFiles: config.CertFile != "", Insecure: insecure}}
	if !insecure {
		settings.TLS.CAFile = config.CAFile
	}
	if config.DialTimeout > 0 {
		dialer := &net.Dialer{Timeout: config.DialTimeout, KeepAlive: 30 * time.Second}
		settings.DialHolder = &transport.DialHolder{Dial: dialer.DialContext}
	}
	rt, err := transport.New(settings)
	if err != nil {
		return nil, fmt.Errorf("transport to kubelets: %w", err)
	}
	return rt, nil
}

// of finds the kubelet of a node.
func (k *Kubelets) of(ctx context.Context, name string) (kubelet, error) {
	// The cache may not have a node's first address yet.
	obj, err := k.objects.Get(ctx, corev1.Resource("nodes"), "", name)
	if err == nil {
		if found, ok := k.locate(obj.(*corev1.Node)); ok {
			return found, nil
		}
	}
	if obj, err = k.objects.GetLatest(ctx, corev1.Resource("nodes"), "", name); err != nil {
		return kubelet{}, err
	}
	found, ok := k.locate(obj.(*corev1.Node))
	if !ok {
		return kubelet{}, fmt.Errorf("no preferred addresses found; known addresses: %v", obj.(*corev1.Node).Status.Addresses)
	}
	return found, nil
}

func (k *Kubelets) locate(node *corev1.Node) (kubelet, bool) {
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port <= 0 {
		port = kubeletPort
	}
	for _, wanted := range k.addressTypes {
		for _, address := range node.Status.Addresses {
			if address.Type == wanted {
				return kubelet{host: address.Address, port: strconv.Itoa(port)}, true
			}
		}
	}
	return kubelet{}, false
}
