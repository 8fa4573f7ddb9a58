package kubelet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/plumbline/plumbline/components/kubelet/server"
	"github.com/plumbline/plumbline/components/kubelet/stats"

	"github.com/plumbline/plumbline/components/serving"
)

// serveHealth answers the health port.
func (k *kubelet) serveHealth(ctx context.Context) error {
	if *k.kc.HealthzPort == 0 {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", server.Healthz(nil))
	address := net.JoinHostPort(k.kc.HealthzBindAddress, strconv.Itoa(int(*k.kc.HealthzPort)))
	if err := server.ServePlain(ctx, address, mux); err != nil {
		return fmt.Errorf("healthzPort: %w", err)
	}
	return nil
}

// serve answers the kubelet's API.
func (k *kubelet) serve(ctx context.Context) error {
	if !*k.kc.EnableServer {
		<-ctx.Done()
		return nil
	}
	access, err := server.NewAccess(ctx, k.config.NodeName, k.kc.Authentication, k.kc.Authorization, k.client)
	if err != nil {
		return err
	}
	certificate, err := serving.Certificate(k.kc.TLSCertFile, k.kc.TLSPrivateKeyFile, []string{k.config.NodeName}, k.config.NodeIPs)
	if err != nil {
		return fmt.Errorf("tlsCertFile, tlsPrivateKeyFile: %w", err)
	}
	s := server.New(server.Config{
		Pods: k.pods, Stats: k.stats, Runtime: k.cri.Runtime, Access: access,
		Resource: stats.WriteResourceMetrics, CAdvisor: stats.WriteResourceMetrics,
		Configz: k.kc, LogDir: k.logDir(), Debugging: *k.kc.EnableDebuggingHandlers,
		IdleTimeout: k.kc.StreamingConnectionIdleTimeout.Duration,
		Healthy:     k.healthy,
	})
	if port := k.kc.ReadOnlyPort; port != 0 {
		k.background(ctx, func(ctx context.Context) error {
			return server.ServePlain(ctx, net.JoinHostPort(k.kc.Address, strconv.Itoa(int(port))), s.ReadOnly())
		})
	}
	return s.Serve(ctx, net.JoinHostPort(k.kc.Address, strconv.Itoa(int(k.kc.Port))), certificate)
}

func (k *kubelet) logDir() string {
	if *k.kc.EnableSystemLogHandler {
		return "/var/log"
	}
	return ""
}

// healthy is not well when the runtime was not seen for long.
func (k *kubelet) healthy() error {
	const patience = 3 * time.Minute
	if since := time.Since(k.observer.LastListed()); since > patience && !k.observer.LastListed().IsZero() {
		return fmt.Errorf("the container runtime was last listed %v ago", since.Round(time.Second))
	}
	return nil
}
