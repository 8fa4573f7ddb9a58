package certificates

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// How long a pod's request is kept, answered or not, and how often old ones are looked for.
const (
	podRequestKept  = 30 * time.Minute
	podRequestSweep = 5 * time.Minute
)

// NewPodRequestCleaner makes the controller that deletes PodCertificateRequests which nobody waits for any more.
func NewPodRequestCleaner(env *controller.Env) (controller.Controller, error) {
	return &podRequestCleaner{env: env}, nil
}

type podRequestCleaner struct{ env *controller.Env }

// Name implements controller.Controller.
func (*podRequestCleaner) Name() string { return "podcertificaterequest-cleaner-controller" }

// Run implements controller.Controller.
func (c *podRequestCleaner) Run(ctx context.Context) error {
	tick := c.env.Clock.NewTicker(podRequestSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
		if err := sweepPodRequests(ctx, c.env.Client, c.env.Clock.Now().Add(-podRequestKept)); err != nil {
			klog.FromContext(ctx).Error(err, "Will try again", "after", podRequestSweep)
		}
	}
}

// sweepPodRequests deletes the requests that were made before a time.
func sweepPodRequests(ctx context.Context, client kubernetes.Interface, before time.Time) error {
	all, err := client.CertificatesV1().PodCertificateRequests(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, request := range all.Items {
		if !request.CreationTimestamp.Time.Before(before) {
			continue
		}
		uid := request.UID
		err := client.CertificatesV1().PodCertificateRequests(request.Namespace).Delete(ctx, request.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &uid},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
