// Package endpointslicemirroring copies Endpoints that were written by hand, for a Service without a selector, into
// EndpointSlices. https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#endpointslice-mirroring
package endpointslicemirroring

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const (
	managedBy = "endpointslicemirroring-controller.k8s.io"
	// perSlice is how many endpoints one slice may hold.
	perSlice = 1000
	// leaderAnnotation marks Endpoints that are a lock, not addresses.
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
)

// Controller is the EndpointSlice mirroring controller.
type Controller struct {
	env       *controller.Env
	workers   int
	perSubset int
	sources   controller.Sources
	services  corelisters.ServiceLister
	endpoints corelisters.EndpointsLister
	slices    discoverylisters.EndpointSliceLister
	queue     *controller.Queue[controller.Key]
}

// New makes the mirroring controller; perSubset bounds the addresses copied from one subset.
func New(env *controller.Env, workers int, perSubset int32) (controller.Controller, error) {
	core, mirrored := env.Informers.Core().V1(), env.Informers.Discovery().V1().EndpointSlices()
	c := &Controller{
		env: env, workers: workers, perSubset: int(perSubset),
		services: core.Services().Lister(), endpoints: core.Endpoints().Lister(), slices: mirrored.Lister(),
	}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, core.Endpoints().Informer(), controller.Any(func(e *corev1.Endpoints) { c.queue.Add(cache.MetaObjectToName(e)) }))
	controller.Watch(&c.sources, core.Services().Informer(), controller.Any(func(s *corev1.Service) { c.queue.Add(cache.MetaObjectToName(s)) }))
	changed := func(slice *discoveryv1.EndpointSlice) {
		if name := slice.Labels[discoveryv1.LabelServiceName]; slice.Labels[discoveryv1.LabelManagedBy] == managedBy && name != "" {
			c.queue.Add(controller.Key{Namespace: slice.Namespace, Name: name})
		}
	}
	controller.Watch(&c.sources, mirrored.Informer(), controller.Handlers[*discoveryv1.EndpointSlice]{
		Update: func(old, slice *discoveryv1.EndpointSlice) {
			changed(old)
			changed(slice)
		},
		Delete: changed,
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "endpointslice-mirroring-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	ours := labels.Set{discoveryv1.LabelServiceName: key.Name, discoveryv1.LabelManagedBy: managedBy}
	existing, err := c.slices.EndpointSlices(key.Namespace).List(ours.AsSelectorPreValidated())
	if err != nil {
		return err
	}
	source, err := c.endpoints.Endpoints(key.Namespace).Get(key.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	service, err := c.services.Services(key.Namespace).Get(key.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	var wanted []*discoveryv1.EndpointSlice
	if service != nil && source != nil && service.Spec.Selector == nil && mirrors(source) {
		wanted = c.mirror(source)
	}
	return c.reconcile(ctx, existing, wanted)
}

func mirrors(source *corev1.Endpoints) bool {
	_, lock := source.Annotations[leaderAnnotation]
	return !lock && source.Labels[discoveryv1.LabelSkipMirror] != "true"
}

// mirror returns the slices that say what the Endpoints say.
func (c *Controller) mirror(source *corev1.Endpoints) []*discoveryv1.EndpointSlice {
	var wanted []*discoveryv1.EndpointSlice
	for _, subset := range source.Subsets {
		byType := map[discoveryv1.AddressType][]discoveryv1.Endpoint{}
		left := c.perSubset
		add := func(addresses []corev1.EndpointAddress, ready bool) {
			for _, address := range addresses {
				addr, err := netip.ParseAddr(address.IP)
				if err != nil || left == 0 {
					continue
				}
				left--
				kind := discoveryv1.AddressTypeIPv4
				if addr.Is6() {
					kind = discoveryv1.AddressTypeIPv6
				}
				endpoint := discoveryv1.Endpoint{Addresses: []string{address.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: address.TargetRef, NodeName: address.NodeName}
				if address.Hostname != "" {
					endpoint.Hostname = &address.Hostname
				}
				byType[kind] = append(byType[kind], endpoint)
			}
		}
		add(subset.Addresses, true)
		add(subset.NotReadyAddresses, false)
		if left == 0 {
			c.env.Recorder.Eventf(source, corev1.EventTypeWarning, "TooManyAddressesToMirror", "A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. Some addresses may have been skipped", c.perSubset)
		}
		for _, kind := range slices.Sorted(maps.Keys(byType)) {
			for part := range slices.Chunk(byType[kind], perSlice) {
				wanted = append(wanted, c.slice(source, kind, part, subset.Ports))
			}
		}
	}
	return wanted
}

func (c *Controller) slice(source *corev1.Endpoints, kind discoveryv1.AddressType, endpoints []discoveryv1.Endpoint, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	owner := metav1.NewControllerRef(source, corev1.SchemeGroupVersion.WithKind("Endpoints"))
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: source.Namespace, GenerateName: source.Name + "-",
			Labels: maps.Clone(source.Labels), Annotations: maps.Clone(source.Annotations), OwnerReferences: []metav1.OwnerReference{*owner},
		},
		AddressType: kind,
		Endpoints:   endpoints,
	}
	if slice.Labels == nil {
		slice.Labels = map[string]string{}
	}
	slice.Labels[discoveryv1.LabelServiceName] = source.Name
	slice.Labels[discoveryv1.LabelManagedBy] = managedBy
	delete(slice.Annotations, corev1.LastAppliedConfigAnnotation)
	delete(slice.Annotations, corev1.EndpointsLastChangeTriggerTime)
	for _, port := range ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: ptr.To(port.Name), Port: ptr.To(port.Port), Protocol: ptr.To(port.Protocol), AppProtocol: port.AppProtocol})
	}
	return slice
}

// reconcile turns what exists into what is wanted with few writes: slices that are right stay, others of the same
// address type are rewritten.
func (c *Controller) reconcile(ctx context.Context, existing, wanted []*discoveryv1.EndpointSlice) error {
	free := slices.SortedFunc(slices.Values(existing), func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	take := func(fits func(*discoveryv1.EndpointSlice) bool) *discoveryv1.EndpointSlice {
		i := slices.IndexFunc(free, fits)
		if i < 0 {
			return nil
		}
		taken := free[i]
		free = slices.Delete(free, i, i+1)
		return taken
	}
	var missing []*discoveryv1.EndpointSlice
	for _, slice := range wanted {
		same := take(func(old *discoveryv1.EndpointSlice) bool {
			return old.AddressType == slice.AddressType && equality.Semantic.DeepEqual(old.Endpoints, slice.Endpoints) && equality.Semantic.DeepEqual(old.Ports, slice.Ports) &&
				maps.Equal(old.Labels, slice.Labels) && maps.Equal(old.Annotations, slice.Annotations)
		})
		if same == nil {
			missing = append(missing, slice)
		}
	}
	var errs []error
	for _, slice := range missing {
		client := c.env.Client.DiscoveryV1().EndpointSlices(slice.Namespace)
		var err error
		if old := take(func(old *discoveryv1.EndpointSlice) bool { return old.AddressType == slice.AddressType }); old != nil {
			rewritten := old.DeepCopy()
			rewritten.Labels, rewritten.Annotations = slice.Labels, slice.Annotations
			rewritten.Endpoints, rewritten.Ports = slice.Endpoints, slice.Ports
			_, err = client.Update(ctx, rewritten, metav1.UpdateOptions{})
		} else {
			_, err = client.Create(ctx, slice, metav1.CreateOptions{})
		}
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			errs = append(errs, err)
		}
	}
	for _, old := range free {
		err := c.env.Client.DiscoveryV1().EndpointSlices(old.Namespace).Delete(ctx, old.Name, metav1.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
