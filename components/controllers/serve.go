package controllers

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/plumbline/plumbline/components/serving"
)

// listen prepares the server of health and metrics.
func (m *Manager) listen(ctx context.Context) (*serving.Server, error) {
	o := m.config.Serving
	tokens, err := m.reviewer("--authentication-kubeconfig", o.AuthenticationKubeconfig)
	if err != nil {
		return nil, err
	}
	access, err := m.reviewer("--authorization-kubeconfig", o.AuthorizationKubeconfig)
	if err != nil {
		return nil, err
	}
	return serving.Listen(ctx, o, serving.Reviewers{Tokens: tokens.AuthenticationV1(), Access: access.AuthorizationV1()},
		serving.Content{Metrics: legacyregistry.HandlerWithReset(), Profiles: true})
}

// reviewer is a client by a kubeconfig of its own, or else the manager's.
func (m *Manager) reviewer(flag, kubeconfig string) (kubernetes.Interface, error) {
	if kubeconfig == "" {
		return m.client, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return client, nil
}
