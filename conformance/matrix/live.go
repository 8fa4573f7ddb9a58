package matrix

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// Swap changes what runs as API server while its data stay; it returns when the new
// one serves.
type Swap func(ctx context.Context, ours bool) error

// Live writes objects through one API server, swaps it for the other on the same data,
// writes through that one, and swaps back. It returns what was lost or changed on the
// way: nothing should be.
func Live(ctx context.Context, config *rest.Config, swap Swap) ([]string, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	var lost []string
	for i, ours := range []bool{false, true, false, true} {
		namespace := fmt.Sprintf("written-%d", i)
		if err := furnish(ctx, client, namespace); err != nil {
			return lost, fmt.Errorf("write before swap %d: %w", i+1, err)
		}
		before, err := Take(ctx, config)
		if err != nil {
			return lost, err
		}
		if err := swap(ctx, ours); err != nil {
			return lost, fmt.Errorf("swap %d: %w", i+1, err)
		}
		after, err := Take(ctx, config)
		if err != nil {
			return lost, fmt.Errorf("after swap %d: %w", i+1, err)
		}
		for _, loss := range before.Lost(after) {
			lost = append(lost, fmt.Sprintf("swap %d: %s", i+1, loss))
		}
	}
	services, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return lost, err
	}
	holders := map[string]string{}
	for _, service := range services.Items {
		address := service.Spec.ClusterIP
		if other := holders[address]; other != "" {
			lost = append(lost, fmt.Sprintf("address %s was given to %s and to %s/%s", address, other, service.Namespace, service.Name))
		}
		holders[address] = service.Namespace + "/" + service.Name
	}
	return lost, nil
}

// furnish fills a namespace with objects of several groups, and waits until what
// controllers make of them is made.
func furnish(ctx context.Context, client kubernetes.Interface, namespace string) error {
	labels := map[string]string{"app": "live"}
	meta := metav1.ObjectMeta{Name: "live", Namespace: namespace, Labels: labels}
	pod := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.10.2"}}},
	}
	job := pod
	job.Spec.RestartPolicy = corev1.RestartPolicyNever
	create := metav1.CreateOptions{}
	for _, step := range []func() error{
		func() error {
			_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, create)
			return err
		},
		func() error {
			_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "b"}, BinaryData: map[string][]byte{"c": {0, 255}}}, create)
			return err
		},
		func() error {
			_, err := client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"a": "b"}}, create)
			return err
		},
		func() error {
			_, err := client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
			}}, create)
			return err
		},
		func() error {
			_, err := client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pod,
			}}, create)
			return err
		},
		func() error {
			_, err := client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: meta, Spec: policyv1.PodDisruptionBudgetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels}, MinAvailable: ptr.To(intstr.FromInt32(1)),
			}}, create)
			return err
		},
		func() error {
			_, err := client.BatchV1().CronJobs(namespace).Create(ctx, &batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{
				Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: job}},
			}}, create)
			return err
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := furnishOlder(ctx, client, namespace); err != nil {
		return err
	}
	return settle(ctx, client, namespace)
}

// settle waits until controllers have nothing left to do in a namespace: from then on
// only a loss changes what is there.
func settle(ctx context.Context, client kubernetes.Interface, namespace string) error {
	const interval, most = 50 * time.Millisecond, 2 * time.Minute
	return wait.PollUntilContextTimeout(ctx, interval, most, true, func(ctx context.Context) (bool, error) {
		deployment, err := client.AppsV1().Deployments(namespace).Get(ctx, "live", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		slices, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready := 0
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if ptr.Deref(endpoint.Conditions.Ready, false) {
					ready++
				}
			}
		}
		_, err = client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return deployment.Status.AvailableReplicas == 2 && ready == 2 && err == nil, nil
	})
}
