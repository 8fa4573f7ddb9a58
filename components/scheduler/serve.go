package scheduler

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"

	"github.com/plumbline/plumbline/components/serving"
)

// listen prepares the server of health and metrics. The scheduler is ready once it has taken in the first lists.
func listen(ctx context.Context, config *Config, metrics http.Handler, ready *atomic.Bool) (*serving.Server, error) {
	main := cmp.Or(config.Component.ClientConnection.Kubeconfig, config.Kubeconfig)
	clients := [2]kubernetes.Interface{}
	for i, path := range []string{config.Serving.AuthenticationKubeconfig, config.Serving.AuthorizationKubeconfig} {
		rest, err := connect(cmp.Or(path, main), config.Component)
		if err != nil {
			return nil, err
		}
		if clients[i], err = kubernetes.NewForConfig(rest); err != nil {
			return nil, err
		}
	}
	synced := healthz.NamedCheck("sched-handler-sync", func(*http.Request) error {
		if !ready.Load() {
			return errors.New("waiting for handlers to sync")
		}
		return nil
	})
	return serving.Listen(ctx, config.Serving, serving.Reviewers{Tokens: clients[0].AuthenticationV1(), Access: clients[1].AuthorizationV1()},
		serving.Content{Metrics: metrics, Profiles: *config.Component.EnableProfiling, Ready: []healthz.HealthChecker{synced}})
}
