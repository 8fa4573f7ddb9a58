// Package cri connects to a container runtime by the Container Runtime Interface.
package cri

import (
	"context"
	"fmt"
	"net"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	criclient "k8s.io/cri-client/pkg"
	criutil "k8s.io/cri-client/pkg/util"
)

// Services are the two halves of CRI.
type Services struct {
	Runtime internalapi.RuntimeService
	Images  internalapi.ImageManagerService
}

// Options says where the runtime is.
type Options struct {
	Endpoint      string
	ImageEndpoint string
	// RequestTimeout bounds each request that does not say otherwise.
	RequestTimeout time.Duration
}

// Connect waits until the runtime answers and connects to it. The runtime often
// starts beside the kubelet, so its socket is tried every few milliseconds.
func Connect(ctx context.Context, o Options) (*Services, error) {
	if o.ImageEndpoint == "" {
		o.ImageEndpoint = o.Endpoint
	}
	if err := awaitSocket(ctx, o.Endpoint); err != nil {
		return nil, err
	}
	var services Services
	for {
		runtime, err := criclient.NewRemoteRuntimeServiceBuilder().
			WithEndpoint(o.Endpoint).WithConnectionTimeout(o.RequestTimeout).WithTracerProvider(nil).Build(ctx)
		if err == nil {
			services.Runtime = runtime
			break
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("connect to the container runtime at %s: %w", o.Endpoint, err)
		}
	}
	images, err := criclient.NewRemoteImageServiceBuilder().
		WithEndpoint(o.ImageEndpoint).WithConnectionTimeout(o.RequestTimeout).WithTracerProvider(nil).Build(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the image service at %s: %w", o.ImageEndpoint, err)
	}
	services.Images = images
	return &services, nil
}

func awaitSocket(ctx context.Context, endpoint string) error {
	address, dial, err := criutil.GetAddressAndDialer(endpoint)
	if err != nil {
		return fmt.Errorf("containerRuntimeEndpoint: %w", err)
	}
	for {
		var conn net.Conn
		if conn, err = dial(ctx, address); err == nil {
			return conn.Close()
		}
		if pause(ctx, 5*time.Millisecond) != nil {
			return fmt.Errorf("container runtime at %s does not answer: %w", endpoint, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
