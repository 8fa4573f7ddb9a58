package allocation

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	netutils "k8s.io/utils/net"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

const (
	// repairInterval and grace are upstream's: a leak must be seen for longer than any write lasts.
	repairInterval = 3 * time.Minute
	grace          = time.Minute
	leakLimit      = 3
)

// Repair puts right what a crash between two writes leaves behind: addresses and ports of Services
// that are gone, and Services whose addresses or ports are not written down.
type Repair struct {
	Objects   Objects
	Addresses []*Addresses
	Ports     *Ports
	Clock     clock.WithTicker

	// leaks counts how often in a row a port was found to be nobody's.
	leaks map[int]int
}

// Run repairs now and then every few minutes, until ctx is done.
func (r *Repair) Run(ctx context.Context) {
	ticker := r.Clock.NewTicker(repairInterval)
	defer ticker.Stop()
	for {
		if err := r.Once(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Service addresses or ports cannot be repaired")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// Once repairs.
func (r *Repair) Once(ctx context.Context) error {
	objects, err := r.Objects.List(ctx, corev1.Resource("services"), "")
	if err != nil {
		return err
	}
	services := make([]*corev1.Service, len(objects))
	for i, obj := range objects {
		services[i] = obj.(*corev1.Service)
	}
	return errors.Join(r.writeDownAddresses(ctx, services), r.freeAddresses(ctx), r.repairPorts(ctx, services))
}

func (r *Repair) writeDownAddresses(ctx context.Context, services []*corev1.Service) error {
	var errs []error
	for _, service := range services {
		for _, ip := range service.Spec.ClusterIPs {
			if ip == "" || ip == corev1.ClusterIPNone {
				continue
			}
			if _, err := r.Objects.GetLatest(ctx, ipAddresses, "", ip); !apierrors.IsNotFound(err) {
				continue
			}
			if a := r.familyOf(ip); a != nil {
				errs = append(errs, a.Take(ctx, ip, resource.Holder{Service: service}))
			}
		}
	}
	return errors.Join(errs...)
}

func (r *Repair) familyOf(ip string) *Addresses {
	for _, a := range r.Addresses {
		if (a.Family() == corev1.IPv6Protocol) == netutils.IsIPv6String(ip) {
			return a
		}
	}
	return nil
}

// freeAddresses deletes the records of allocators whose Service is gone or has another address.
func (r *Repair) freeAddresses(ctx context.Context) error {
	objects, err := r.Objects.List(ctx, ipAddresses, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, obj := range objects {
		record := obj.(*networkingv1.IPAddress)
		young := r.Clock.Since(record.CreationTimestamp.Time) < grace
		if record.Labels[networkingv1.LabelManagedBy] != managedBy || young || r.held(ctx, record) {
			continue
		}
		klog.InfoS("Releasing the address of a Service that is gone", "address", record.Name)
		errs = append(errs, r.Objects.Delete(ctx, ipAddresses, "", record.Name))
	}
	return errors.Join(errs...)
}

func (r *Repair) held(ctx context.Context, record *networkingv1.IPAddress) bool {
	parent := record.Spec.ParentRef
	if parent == nil || parent.Resource != "services" || parent.Group != "" {
		return parent != nil
	}
	obj, err := r.Objects.GetLatest(ctx, corev1.Resource("services"), parent.Namespace, parent.Name)
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	for _, ip := range obj.(*corev1.Service).Spec.ClusterIPs {
		if ip == record.Name {
			return true
		}
	}
	return false
}

// portsOf are a Service's node ports, its health check's among them.
func portsOf(service *corev1.Service) []int {
	var ports []int
	for _, p := range service.Spec.Ports {
		if p.NodePort != 0 {
			ports = append(ports, int(p.NodePort))
		}
	}
	if service.Spec.HealthCheckNodePort != 0 {
		ports = append(ports, int(service.Spec.HealthCheckNodePort))
	}
	return ports
}

// repairPorts sets the bits of ports in use, and clears those that have been nobody's several times in
// a row: once may be a Service that is just being written.
func (r *Repair) repairPorts(ctx context.Context, services []*corev1.Service) error {
	used := new(big.Int)
	for _, service := range services {
		for _, port := range portsOf(service) {
			if !r.Ports.within.Contains(port) {
				klog.InfoS("A node port is outside the range", "service", klog.KObj(service), "port", port, "range", r.Ports.within.String())
				continue
			}
			used.SetBit(used, port-r.Ports.within.Base, 1)
		}
	}
	stored, err := r.Ports.read(ctx)
	if err != nil {
		return err
	}
	leaks := map[int]int{}
	for bit := range r.Ports.within.Size {
		if stored.Bit(bit) == 1 && used.Bit(bit) == 0 {
			leaks[bit] = r.leaks[bit] + 1
		}
	}
	r.leaks = leaks
	missing := new(big.Int).AndNot(used, stored)
	if missing.Sign() == 0 && !anyOver(leaks, leakLimit) {
		return nil
	}
	err = r.Ports.change(ctx, func(bits *big.Int) error {
		bits.Or(bits, used)
		for bit, times := range leaks {
			if times >= leakLimit {
				bits.SetBit(bits, bit, 0)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("node ports: %w", err)
	}
	return nil
}

func anyOver(counts map[int]int, limit int) bool {
	for _, n := range counts {
		if n >= limit {
			return true
		}
	}
	return false
}
