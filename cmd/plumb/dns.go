package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumbline/plumbline/framework/supervisor"
)

// waitForDNS returns when the cluster's DNS Deployment has a replica that is
// available: CoreDNS is ready when it answers.
func waitForDNS(ctx context.Context, cluster *supervisor.Client) error {
	const namespace, name, limit = "kube-system", "coredns", 2 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	status, err := cluster.Status(ctx)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", status.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
	deployments := client.AppsV1().Deployments(namespace)
	list, err := deployments.List(ctx, only)
	if err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return fmt.Errorf("the cluster has no Deployment %s/%s, so no DNS to wait for", namespace, name)
	}
	if list.Items[0].Status.AvailableReplicas > 0 {
		return nil
	}
	only.ResourceVersion = list.ResourceVersion
	watcher, err := deployments.Watch(ctx, only)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if deployment, ok := event.Object.(*appsv1.Deployment); ok && deployment.Status.AvailableReplicas > 0 {
			return nil
		}
	}
	return fmt.Errorf("DNS does not answer after %s: plumb kubectl -n %s describe deployment %s", limit, namespace, name)
}
