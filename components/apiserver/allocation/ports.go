package allocation

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/storage"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// portsKey is where upstream keeps the bitmap.
const portsKey = "/ranges/servicenodeports"

// Ports implements resource.Ports by a bitmap in etcd, which is changed in one transaction, so that
// several API servers never hand out one port twice.
type Ports struct {
	storage storage.Interface
	within  utilnet.PortRange
}

var _ resource.Ports = &Ports{}

// NewPorts allocates from a range.
func NewPorts(storage storage.Interface, within utilnet.PortRange) *Ports {
	return &Ports{storage: storage, within: within}
}

// change rewrites the bitmap; bit i stands for port Base+i.
func (p *Ports) change(ctx context.Context, edit func(bits *big.Int) error) error {
	return p.storage.GuaranteedUpdate(ctx, portsKey, &corev1.RangeAllocation{}, true, nil,
		storage.SimpleUpdate(func(input runtime.Object) (runtime.Object, error) {
			record := input.(*corev1.RangeAllocation)
			bits, err := p.bitsOf(record)
			if err != nil {
				return nil, err
			}
			if err := edit(bits); err != nil {
				return nil, err
			}
			record.Range, record.Data = p.within.String(), bits.Bytes()
			return record, nil
		}), nil)
}

// bitsOf reads a bitmap; one made for another range is carried over.
func (p *Ports) bitsOf(record *corev1.RangeAllocation) (*big.Int, error) {
	bits := new(big.Int).SetBytes(record.Data)
	if record.Range == "" || record.Range == p.within.String() {
		return bits, nil
	}
	was, err := utilnet.ParsePortRange(record.Range)
	if err != nil {
		return nil, fmt.Errorf("stored node port range: %w", err)
	}
	carried := new(big.Int)
	for i := range was.Size {
		if port := was.Base + i; bits.Bit(i) == 1 && p.within.Contains(port) {
			carried.SetBit(carried, port-p.within.Base, 1)
		}
	}
	return carried, nil
}

// read gives the bitmap as it is.
func (p *Ports) read(ctx context.Context) (*big.Int, error) {
	record := &corev1.RangeAllocation{}
	if err := p.storage.Get(ctx, portsKey, storage.GetOptions{IgnoreNotFound: true}, record); err != nil {
		return nil, err
	}
	return p.bitsOf(record)
}

// Take reserves one port for a Service.
func (p *Ports) Take(ctx context.Context, port int32, holder resource.Holder) error {
	if !p.within.Contains(int(port)) {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", p.within.String())
	}
	bit := int(port) - p.within.Base
	take := func(bits *big.Int) error {
		if bits.Bit(bit) == 1 {
			return resource.ErrPortTaken
		}
		bits.SetBit(bits, bit, 1)
		return nil
	}
	return p.apply(ctx, holder, take)
}

// Next reserves any free port, from the upper part of the range first.
// See https://kubernetes.io/docs/concepts/services-networking/service/#avoid-nodeport-collisions.
func (p *Ports) Next(ctx context.Context, holder resource.Holder) (int32, error) {
	var port int32
	take := func(bits *big.Int) error {
		upper := portOffset(p.within.Size)
		for _, part := range [][2]int{{upper, p.within.Size}, {0, upper}} {
			if bit, ok := freeBit(bits, part[0], part[1]); ok {
				bits.SetBit(bits, bit, 1)
				port = int32(p.within.Base + bit)
				return nil
			}
		}
		return resource.ErrFull
	}
	err := p.apply(ctx, holder, take)
	return port, err
}

func (p *Ports) apply(ctx context.Context, holder resource.Holder, take func(*big.Int) error) error {
	if !holder.DryRun {
		return p.change(ctx, take)
	}
	bits, err := p.read(ctx)
	if err != nil {
		return err
	}
	return take(bits)
}

// Release gives a port back.
func (p *Ports) Release(ctx context.Context, port int32) error {
	if !p.within.Contains(int(port)) {
		return nil
	}
	return p.change(ctx, func(bits *big.Int) error {
		bits.SetBit(bits, int(port)-p.within.Base, 0)
		return nil
	})
}

func freeBit(bits *big.Int, from, to int) (int, bool) {
	if to <= from {
		return 0, false
	}
	start := rand.IntN(to - from)
	for i := range to - from {
		if bit := from + (start+i)%(to-from); bits.Bit(bit) == 0 {
			return bit, true
		}
	}
	return 0, false
}

func portOffset(size int) int {
	const least, most, share = 16, 128, 32
	if size <= least {
		return 0
	}
	return min(max(least, size/share), most)
}
