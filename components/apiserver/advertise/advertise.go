// Package advertise makes the API server findable in its cluster: the Service
// default/kubernetes, and behind it the addresses of all API servers that are alive.
//
// Each server keeps a lease in etcd, at upstream's key; the Service's endpoints are the
// addresses of all leases. A server that dies is taken out when its lease runs out.
package advertise

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

const (
	name      = "kubernetes"
	portName  = "https"
	leasesKey = "/masterleases"
	// interval and leaseSeconds are upstream's.
	interval     = 10 * time.Second
	leaseSeconds = 15
)

// Objects reads and writes stored objects.
type Objects interface {
	GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
	Create(ctx context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error)
	Update(ctx context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error)
	Delete(ctx context.Context, gr schema.GroupResource, namespace, name string) error
}

// Advertiser keeps the Service and its endpoints.
type Advertiser struct {
	Objects Objects
	// Default completes objects as if a client had sent them.
	Default func(runtime.Object)
	// Leases is where the leases are kept.
	Leases storage.Interface
	// Address and Port are where this server is reached; ClusterIP is the Service's.
	Address   netip.Addr
	Port      int
	ClusterIP string
	// NodePort is the Service's node port; 0 for none.
	NodePort int
	Clock    clock.WithTicker
}

// EnsureService creates the Service unless it is there.
func (a *Advertiser) EnsureService(ctx context.Context) error {
	if _, err := a.Objects.GetLatest(ctx, corev1.Resource("services"), metav1.NamespaceDefault, name); !apierrors.IsNotFound(err) {
		return err
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{
			ClusterIP:       a.ClusterIP,
			IPFamilyPolicy:  ptr.To(corev1.IPFamilyPolicySingleStack),
			SessionAffinity: corev1.ServiceAffinityNone,
			Type:            corev1.ServiceTypeClusterIP,
			Ports:           []corev1.ServicePort{{Name: portName, Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt(a.Port), NodePort: int32(a.NodePort)}},
		},
	}
	if a.NodePort > 0 {
		service.Spec.Type = corev1.ServiceTypeNodePort
	}
	a.Default(service)
	_, err := a.Objects.Create(ctx, corev1.Resource("services"), service)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Run keeps this server's lease and the endpoints until ctx is done, and then takes this server out.
func (a *Advertiser) Run(ctx context.Context) {
	ticker := a.Clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := a.Once(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "The kubernetes Service's endpoints cannot be kept")
		}
		select {
		case <-ctx.Done():
			a.withdraw()
			return
		case <-ticker.C():
		}
	}
}

// Once renews the lease and brings the endpoints up to date.
func (a *Advertiser) Once(ctx context.Context) error {
	if err := a.renew(ctx); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	if err := a.EnsureService(ctx); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	alive, err := a.alive(ctx)
	if err != nil {
		return err
	}
	if len(alive) == 0 {
		return errors.New("no API server IP addresses were listed in storage, refusing to erase all endpoints for the kubernetes Service")
	}
	return a.publish(ctx, alive)
}

// withdraw ends the lease, so that the others need not wait for it to run out.
func (a *Advertiser) withdraw() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := a.Leases.Delete(ctx, leasesKey+"/"+a.Address.String(), &corev1.Endpoints{}, nil, rest.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err == nil {
		var alive []string
		if alive, err = a.alive(ctx); err == nil {
			err = a.publish(ctx, alive)
		}
	}
	if err != nil {
		klog.ErrorS(err, "This server cannot be taken out of the kubernetes Service's endpoints")
	}
}

func (a *Advertiser) renew(ctx context.Context) error {
	seconds := uint64(leaseSeconds)
	return a.Leases.GuaranteedUpdate(ctx, leasesKey+"/"+a.Address.String(), &corev1.Endpoints{}, true, nil,
		func(input runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
			lease := input.(*corev1.Endpoints)
			lease.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: a.Address.String()}}}}
			// Only a change is written, and only a write renews.
			lease.Generation++
			return lease, &seconds, nil
		}, nil)
}

func (a *Advertiser) alive(ctx context.Context) ([]string, error) {
	list := &corev1.EndpointsList{}
	if err := a.Leases.GetList(ctx, leasesKey+"/", storage.ListOptions{Predicate: storage.Everything, Recursive: true}, list); err != nil {
		return nil, err
	}
	var addresses []string
	for _, lease := range list.Items {
		for _, subset := range lease.Subsets {
			for _, address := range subset.Addresses {
				addresses = append(addresses, address.IP)
			}
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), nil
}

// publish writes the addresses into the Endpoints and the EndpointSlice.
func (a *Advertiser) publish(ctx context.Context, addresses []string) error {
	meta := metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault}
	endpoints := &corev1.Endpoints{ObjectMeta: *meta.DeepCopy()}
	// The mirroring controller would make a second slice of it.
	endpoints.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: *meta.DeepCopy(), AddressType: discoveryv1.AddressTypeIPv4}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	if a.Address.Is6() {
		slice.AddressType = discoveryv1.AddressTypeIPv6
	}
	if len(addresses) > 0 {
		subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: portName, Port: int32(a.Port), Protocol: corev1.ProtocolTCP}}}
		slice.Ports = []discoveryv1.EndpointPort{{Name: ptr.To(portName), Port: ptr.To(int32(a.Port)), Protocol: ptr.To(corev1.ProtocolTCP)}}
		for _, ip := range addresses {
			subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: ip})
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}})
		}
		endpoints.Subsets = []corev1.EndpointSubset{subset}
	}
	if slice.Endpoints == nil {
		slice.Endpoints = []discoveryv1.Endpoint{}
	}
	a.Default(endpoints)
	a.Default(slice)
	return errors.Join(a.write(ctx, corev1.Resource("endpoints"), endpoints), a.write(ctx, discoveryv1.Resource("endpointslices"), slice))
}

type object interface {
	runtime.Object
	metav1.Object
}

// write creates or updates, and does neither where nothing differs.
func (a *Advertiser) write(ctx context.Context, gr schema.GroupResource, wanted object) error {
	stored, err := a.Objects.GetLatest(ctx, gr, wanted.GetNamespace(), wanted.GetName())
	if apierrors.IsNotFound(err) {
		_, err = a.Objects.Create(ctx, gr, wanted)
		return err
	}
	if err != nil {
		return err
	}
	have := stored.(object)
	if same(have, wanted) {
		return nil
	}
	wanted.SetResourceVersion(have.GetResourceVersion())
	wanted.SetUID(have.GetUID())
	_, err = a.Objects.Update(ctx, gr, wanted)
	return err
}

func same(have, wanted object) bool {
	for key, value := range wanted.GetLabels() {
		if have.GetLabels()[key] != value {
			return false
		}
	}
	switch w := wanted.(type) {
	case *corev1.Endpoints:
		return apiequality.Semantic.DeepEqual(have.(*corev1.Endpoints).Subsets, w.Subsets)
	case *discoveryv1.EndpointSlice:
		h := have.(*discoveryv1.EndpointSlice)
		return h.AddressType == w.AddressType && apiequality.Semantic.DeepEqual(h.Endpoints, w.Endpoints) && apiequality.Semantic.DeepEqual(h.Ports, w.Ports)
	}
	return false
}
