// Package servicecidr declares ServiceCIDRs ready to take addresses from, and keeps one that is being deleted until no
// Service's address depends on it.
// https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/
package servicecidr

import (
	"context"
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	networkinglisters "k8s.io/client-go/listers/networking/v1"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const (
	workers   = 1
	finalizer = "networking.k8s.io/service-cidr-finalizer"
	// allocator manages the addresses that belong to Services.
	allocator = "ipallocator.k8s.io"
	// grace is how long an API server may not have heard of a deletion yet and hand out one more address.
	grace = 10 * time.Second
)

// Controller is the ServiceCIDR controller.
type Controller struct {
	env       *controller.Env
	sources   controller.Sources
	cidrs     networkinglisters.ServiceCIDRLister
	addresses networkinglisters.IPAddressLister
	queue     *controller.Queue[string]
}

// New makes the ServiceCIDR controller.
func New(env *controller.Env) (controller.Controller, error) {
	cidrs, addresses := env.Informers.Networking().V1().ServiceCIDRs(), env.Informers.Networking().V1().IPAddresses()
	c := &Controller{env: env, cidrs: cidrs.Lister(), addresses: addresses.Lister()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, cidrs.Informer(), controller.Any(func(cidr *networkingv1.ServiceCIDR) {
		c.queue.Add(cidr.Name)
		c.wakeDeleted() // Another range may now hold what kept them.
	}))
	controller.Watch(&c.sources, addresses.Informer(), controller.Handlers[*networkingv1.IPAddress]{
		Delete: func(*networkingv1.IPAddress) { c.wakeDeleted() },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "service-cidr-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, workers)
	}
	return nil
}

// wakeDeleted wakes the ranges that wait to go.
func (c *Controller) wakeDeleted() {
	all, err := c.cidrs.List(labels.Everything())
	if err != nil {
		return
	}
	for _, cidr := range all {
		if cidr.DeletionTimestamp != nil {
			c.queue.Add(cidr.Name)
		}
	}
}

func (c *Controller) sync(ctx context.Context, name string) error {
	cached, err := c.cidrs.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	cidr := cached.DeepCopy()
	protected := slices.Contains(cidr.Finalizers, finalizer)
	if cidr.DeletionTimestamp != nil {
		if !protected {
			return nil // Somebody else's finalizer keeps it.
		}
		return c.letGo(ctx, cidr)
	}
	if !protected {
		cidr.Finalizers = append(cidr.Finalizers, finalizer)
		return c.update(ctx, cidr) // The condition's turn comes with the update.
	}
	err = c.mark(ctx, cidr, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"})
	if err != nil {
		c.env.Recorder.Eventf(cidr, "Warning", "KubernetesServiceCIDRError", "The ServiceCIDR Status can not be set to Ready=True")
	}
	return err
}

// letGo removes the finalizer once no address depends on the range, and says what it waits for until then.
func (c *Controller) letGo(ctx context.Context, cidr *networkingv1.ServiceCIDR) error {
	ranges, err := c.cidrs.List(labels.Everything())
	if err != nil {
		return err
	}
	addresses, err := c.addresses.List(labels.SelectorFromSet(labels.Set{networkingv1.LabelManagedBy: allocator}))
	if err != nil {
		return err
	}
	if needed(cidr, ranges, addresses) {
		return c.mark(ctx, cidr, metav1.Condition{
			Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		})
	}
	if left := cidr.DeletionTimestamp.Add(grace).Sub(c.env.Clock.Now()); left > 0 {
		c.queue.AddAfter(cidr.Name, left)
		return nil
	}
	cidr.Finalizers = slices.DeleteFunc(cidr.Finalizers, func(f string) bool { return f == finalizer })
	return c.update(ctx, cidr)
}

// needed tells whether any of the addresses is in the range and in no other that stays.
func needed(cidr *networkingv1.ServiceCIDR, ranges []*networkingv1.ServiceCIDR, addresses []*networkingv1.IPAddress) bool {
	for _, address := range addresses {
		ip, err := netip.ParseAddr(address.Name)
		if err != nil || !holds(cidr, ip) {
			continue
		}
		elsewhere := func(other *networkingv1.ServiceCIDR) bool {
			return other.Name != cidr.Name && other.DeletionTimestamp == nil && holds(other, ip)
		}
		if !slices.ContainsFunc(ranges, elsewhere) {
			return true
		}
	}
	return false
}

func holds(cidr *networkingv1.ServiceCIDR, ip netip.Addr) bool {
	return slices.ContainsFunc(cidr.Spec.CIDRs, func(text string) bool {
		prefix, err := netip.ParsePrefix(text)
		return err == nil && prefix.Contains(ip)
	})
}

// mark sets the condition Ready. One that is True already keeps its message: the API server writes that of its own range.
func (c *Controller) mark(ctx context.Context, cidr *networkingv1.ServiceCIDR, ready metav1.Condition) error {
	ready.Type = networkingv1.ServiceCIDRConditionReady
	known := meta.FindStatusCondition(cidr.Status.Conditions, ready.Type)
	if known != nil && known.Status == ready.Status && known.Reason == ready.Reason {
		return nil
	}
	ready.LastTransitionTime = metav1.NewTime(c.env.Clock.Now())
	meta.SetStatusCondition(&cidr.Status.Conditions, ready)
	_, err := c.env.Client.NetworkingV1().ServiceCIDRs().UpdateStatus(ctx, cidr, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Controller) update(ctx context.Context, cidr *networkingv1.ServiceCIDR) error {
	_, err := c.env.Client.NetworkingV1().ServiceCIDRs().Update(ctx, cidr, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
