package nodeipam

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"sync"
)

var errExhausted = errors.New("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")

// pool hands out the subnets of one size of one CIDR. It goes round, so that a subnet given back rests for a while.
type pool struct {
	cidr netip.Prefix
	bits int
	// count is how many subnets there are.
	count int

	mu   sync.Mutex
	next int
	used map[netip.Prefix]bool
}

func newPool(cidr netip.Prefix, bits int) (*pool, error) {
	if bits < cidr.Bits() || bits > cidr.Addr().BitLen() {
		return nil, fmt.Errorf("node mask size /%d does not fit in %s: must be %d to %d", bits, cidr, cidr.Bits(), cidr.Addr().BitLen())
	}
	if bits-cidr.Bits() > 16 {
		return nil, fmt.Errorf("node mask size /%d in %s makes more than 65536 subnets: must be at most /%d", bits, cidr, cidr.Bits()+16)
	}
	return &pool{cidr: cidr.Masked(), bits: bits, count: 1 << (bits - cidr.Bits()), used: map[netip.Prefix]bool{}}, nil
}

// subnet is the i-th subnet.
func (p *pool) subnet(i int) netip.Prefix {
	value := new(big.Int).SetBytes(p.cidr.Addr().AsSlice())
	offset := new(big.Int).Lsh(big.NewInt(int64(i)), uint(p.cidr.Addr().BitLen()-p.bits))
	bytes := make([]byte, p.cidr.Addr().BitLen()/8)
	value.Add(value, offset).FillBytes(bytes)
	addr, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(addr, p.bits)
}

// take hands out a free subnet.
func (p *pool) take() (netip.Prefix, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.count {
		candidate := p.subnet(p.next)
		p.next = (p.next + 1) % p.count
		if !p.used[candidate] {
			p.used[candidate] = true
			return candidate, nil
		}
	}
	return netip.Prefix{}, errExhausted
}

// occupy marks all subnets that overlap prefix as used.
func (p *pool) occupy(prefix netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if prefix.Bits() == p.bits {
		p.used[prefix.Masked()] = true
		return
	}
	for i := range p.count {
		if subnet := p.subnet(i); subnet.Overlaps(prefix) {
			p.used[subnet] = true
		}
	}
}

// release gives a subnet back.
func (p *pool) release(prefix netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, prefix.Masked())
}
