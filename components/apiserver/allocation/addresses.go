// Package allocation hands out the addresses and node ports of Services. What is handed out is
// written down in etcd as upstream writes it: an IPAddress object for each address, one bitmap
// for the ports.
package allocation

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// managedBy marks the IPAddress objects that are an allocator's.
const managedBy = "ipallocator.k8s.io"

var (
	ipAddresses  = networkingv1.Resource("ipaddresses")
	serviceCIDRs = networkingv1.Resource("servicecidrs")
)

// Objects reads and writes stored objects.
type Objects interface {
	Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
	GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
	List(ctx context.Context, gr schema.GroupResource, namespace string) ([]runtime.Object, error)
	Create(ctx context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error)
	Delete(ctx context.Context, gr schema.GroupResource, namespace, name string) error
}

// Addresses implements resource.Addresses by IPAddress objects, whose names are the addresses: two
// Services cannot have one because two objects cannot have one name.
type Addresses struct {
	objects Objects
	// configured is the range of the command line; ServiceCIDR objects add others.
	configured netip.Prefix
}

var _ resource.Addresses = &Addresses{}

// NewAddresses allocates from a range and from every ready ServiceCIDR of its family.
func NewAddresses(objects Objects, configured netip.Prefix) *Addresses {
	return &Addresses{objects: objects, configured: configured.Masked()}
}

// Family is that of the range.
func (a *Addresses) Family() corev1.IPFamily {
	if a.configured.Addr().Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// ranges are all that addresses may come from at the moment.
func (a *Addresses) ranges(ctx context.Context) []netip.Prefix {
	all := []netip.Prefix{a.configured}
	objects, err := a.objects.List(ctx, serviceCIDRs, "")
	if err != nil {
		return all
	}
	for _, obj := range objects {
		cidr := obj.(*networkingv1.ServiceCIDR)
		if !usable(cidr) {
			continue
		}
		for _, text := range cidr.Spec.CIDRs {
			prefix, err := netip.ParsePrefix(text)
			if err == nil && prefix.Addr().Is4() == a.configured.Addr().Is4() && prefix != a.configured {
				all = append(all, prefix)
			}
		}
	}
	return all
}

func usable(cidr *networkingv1.ServiceCIDR) bool {
	if cidr.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range cidr.Status.Conditions {
		if condition.Type == networkingv1.ServiceCIDRConditionReady {
			return condition.Status == metav1.ConditionTrue
		}
	}
	return false
}

// Take reserves one address for a Service.
func (a *Addresses) Take(ctx context.Context, ip string, holder resource.Holder) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	for _, prefix := range a.ranges(ctx) {
		if !prefix.Contains(addr) {
			continue
		}
		if first, last := usableBounds(prefix); addr.Less(first) || last.Less(addr) {
			return fmt.Errorf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, prefix)
		}
		return a.reserve(ctx, addr, holder)
	}
	return errors.New("the provided network does not match the current range")
}

func (a *Addresses) reserve(ctx context.Context, addr netip.Addr, holder resource.Holder) error {
	if holder.DryRun {
		if _, err := a.objects.GetLatest(ctx, ipAddresses, "", addr.String()); err == nil {
			return resource.ErrAddressTaken
		}
		return nil
	}
	_, err := a.objects.Create(ctx, ipAddresses, a.record(addr, holder.Service))
	if apierrors.IsAlreadyExists(err) {
		return resource.ErrAddressTaken
	}
	return err
}

func (a *Addresses) record(addr netip.Addr, service *corev1.Service) *networkingv1.IPAddress {
	record := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{
		Name: addr.String(),
		Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(a.Family()),
			networkingv1.LabelManagedBy:       managedBy,
		},
	}}
	if service != nil {
		record.Spec.ParentRef = &networkingv1.ParentReference{Resource: "services", Namespace: service.Namespace, Name: service.Name}
	}
	return record
}

// Next reserves any free address. The lower part of a range is left to those who ask for a certain
// one, for as long as the upper part lasts.
// See https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/.
func (a *Addresses) Next(ctx context.Context, holder resource.Holder) (string, error) {
	for _, prefix := range a.ranges(ctx) {
		first, last := usableBounds(prefix)
		size := distance(first, last) + 1
		upper := offset(size)
		for _, part := range [][2]uint64{{upper, size}, {0, upper}} {
			addr, err := a.nextIn(ctx, first, part[0], part[1], holder)
			if err != nil || addr.IsValid() {
				return addr.String(), err
			}
		}
	}
	return "", resource.ErrFull
}

// nextIn tries first+from ... first+to-1, starting anywhere, once around. An invalid address
// means that all are taken.
func (a *Addresses) nextIn(ctx context.Context, first netip.Addr, from, to uint64, holder resource.Holder) (netip.Addr, error) {
	if to <= from {
		return netip.Addr{}, nil
	}
	span := to - from
	start := rand.Uint64N(span)
	// A family of 2^64 addresses is not walked to the end.
	for i := range min(span, 1<<16) {
		addr := add(first, from+(start+i)%span)
		if _, err := a.objects.Get(ctx, ipAddresses, "", addr.String()); err == nil {
			continue
		}
		err := a.reserve(ctx, addr, holder)
		if err == nil {
			return addr, nil
		}
		if !errors.Is(err, resource.ErrAddressTaken) {
			return netip.Addr{}, err
		}
	}
	return netip.Addr{}, nil
}

// Release gives an address back.
func (a *Addresses) Release(ctx context.Context, ip string) error {
	return a.objects.Delete(ctx, ipAddresses, "", ip)
}

// First is the address of the kubernetes Service.
func (a *Addresses) First() string { return a.configured.Addr().Next().String() }

// usableBounds leaves out the network's own address and, for IPv4, the broadcast address.
func usableBounds(prefix netip.Prefix) (first, last netip.Addr) {
	host := new(big.Int).Lsh(big.NewInt(1), uint(prefix.Addr().BitLen()-prefix.Bits()))
	host.Sub(host, big.NewInt(1))
	if prefix.Addr().Is4() {
		host.Sub(host, big.NewInt(1))
	}
	size := ^uint64(0)
	if host.IsUint64() {
		size = host.Uint64()
	}
	return prefix.Masked().Addr().Next(), add(prefix.Masked().Addr(), size)
}

// offset is where the part of a range begins that addresses are drawn from first.
func offset(size uint64) uint64 {
	const least, most, share = 16, 256, 16
	if size <= least {
		return 0
	}
	return min(max(least, size/share), most)
}

func add(addr netip.Addr, n uint64) netip.Addr {
	sum := new(big.Int).SetBytes(addr.AsSlice())
	sum.Add(sum, new(big.Int).SetUint64(n))
	bytes := make([]byte, addr.BitLen()/8)
	sum.FillBytes(bytes)
	result, _ := netip.AddrFromSlice(bytes)
	return result
}

func distance(from, to netip.Addr) uint64 {
	d := new(big.Int).Sub(new(big.Int).SetBytes(to.AsSlice()), new(big.Int).SetBytes(from.AsSlice()))
	if !d.IsUint64() {
		return ^uint64(0) - 1
	}
	return d.Uint64()
}
