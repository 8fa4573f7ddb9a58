package apiserver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/plumbline/plumbline/components/apiserver/advertise"
	"github.com/plumbline/plumbline/components/apiserver/allocation"
	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// defaultServiceCIDR is the object that stands for the command line's ranges.
const defaultServiceCIDR = "kubernetes"

// newServiceRanges makes what Services draw addresses and ports from.
func (s *server) newServiceRanges() (*resource.ServiceRanges, error) {
	configured, err := s.config.Services.ranges()
	if err != nil {
		return nil, err
	}
	bits, err := s.layout.raw(corev1.Resource("servicenodeportallocations"), "/ranges",
		func() runtime.Object { return &corev1.RangeAllocation{} }, func() runtime.Object { return nil })
	if err != nil {
		return nil, err
	}
	ports := allocation.NewPorts(bits, s.config.Services.NodePortRange)
	ranges := &resource.ServiceRanges{NodePorts: ports}
	s.repair = &allocation.Repair{Objects: s.direct, Ports: ports, Clock: clock.RealClock{}}
	for _, cidr := range configured {
		prefix, err := netip.ParsePrefix(cidr.String())
		if err != nil {
			return nil, fmt.Errorf("--service-cluster-ip-range: %w", err)
		}
		addresses := allocation.NewAddresses(s.direct, prefix)
		ranges.Addresses = append(ranges.Addresses, addresses)
		s.repair.Addresses = append(s.repair.Addresses, addresses)
	}
	return ranges, s.newAdvertiser()
}

func (s *server) newAdvertiser() error {
	if s.config.Services.EndpointReconciler == "none" {
		return nil
	}
	leases, err := s.layout.raw(corev1.Resource("apiServerIPInfo"), "/masterleases",
		func() runtime.Object { return &corev1.Endpoints{} }, func() runtime.Object { return &corev1.EndpointsList{} })
	if err != nil {
		return err
	}
	address, ok := netip.AddrFromSlice(s.config.Server.AdvertiseAddress)
	if !ok {
		return fmt.Errorf("--advertise-address: %v is not an IP address", s.config.Server.AdvertiseAddress)
	}
	_, port, err := s.generic.SecureServing.HostPort()
	if err != nil {
		return err
	}
	s.advertiser = &advertise.Advertiser{
		Objects: s.direct, Default: s.scheme.Default, Leases: leases,
		Address: address.Unmap(), Port: port, ClusterIP: s.repair.Addresses[0].First(),
		NodePort: s.config.Services.KubernetesNodePort, Clock: clock.RealClock{},
	}
	return nil
}

// startAdvertising puts this server into the kubernetes Service once the cluster's objects are
// stored. The channel is closed when it is taken out again.
func (s *server) startAdvertising(ctx context.Context) <-chan struct{} {
	withdrawn := make(chan struct{})
	go func() {
		defer close(withdrawn)
		select {
		case <-s.rolesReady:
		case <-ctx.Done():
			return
		}
		if s.advertiser != nil {
			s.advertiser.Run(ctx)
		}
	}()
	return withdrawn
}

func (s *server) runServiceRepair(ctx genericapiserver.PostStartHookContext) error {
	go s.repair.Run(ctx)
	return nil
}

func (s *server) serviceCIDRs() ([]string, error) {
	configured, err := s.config.Services.ranges()
	var list []string
	for _, cidr := range configured {
		list = append(list, cidr.String())
	}
	return list, err
}

// ensureServiceCIDR stores the command line's ranges as an object.
func (s *server) ensureServiceCIDR(ctx context.Context) error {
	cidrs, err := s.serviceCIDRs()
	if err != nil {
		return err
	}
	gr := networkingv1.Resource("servicecidrs")
	stored, err := s.direct.GetLatest(ctx, gr, "", defaultServiceCIDR)
	if apierrors.IsNotFound(err) {
		_, err = s.direct.Create(ctx, gr, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: defaultServiceCIDR}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
		})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	cidr := stored.(*networkingv1.ServiceCIDR).DeepCopy()
	if len(cidrs) == 2 && slices.Equal(cidr.Spec.CIDRs, cidrs[:1]) {
		cidr.Spec.CIDRs = cidrs
		_, err = s.direct.Update(ctx, gr, cidr)
	}
	return err
}

// runServiceCIDR marks the default ServiceCIDR ready where it is what this server was told.
func (s *server) runServiceCIDR(ctx genericapiserver.PostStartHookContext) error {
	go func() {
		select {
		case <-s.rolesReady:
		case <-ctx.Done():
			return
		}
		if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { return s.markServiceCIDR(ctx) }); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "The default ServiceCIDR cannot be marked ready")
		}
	}()
	return nil
}

func (s *server) markServiceCIDR(ctx context.Context) error {
	wanted, err := s.serviceCIDRs()
	if err != nil {
		return err
	}
	client := s.client.NetworkingV1().ServiceCIDRs()
	cidr, err := client.Get(ctx, defaultServiceCIDR, metav1.GetOptions{})
	if err != nil {
		return err
	}
	known := meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if cidr.DeletionTimestamp != nil || known != nil && known.Status != metav1.ConditionUnknown {
		return nil
	}
	if !slices.Equal(cidr.Spec.CIDRs, wanted) {
		klog.InfoS("The default ServiceCIDR differs from the command line", "stored", cidr.Spec.CIDRs, "flag", wanted)
		return nil
	}
	meta.SetStatusCondition(&cidr.Status.Conditions, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready",
	})
	_, err = client.UpdateStatus(ctx, cidr, metav1.UpdateOptions{})
	return err
}
