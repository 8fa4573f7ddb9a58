package hollow

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
)

// subnets hands out a range's parts, the first that is free each time.
type subnets struct {
	base  uint32
	bits  int
	used  []bool
	first int
}

func newSubnets(of netip.Prefix, size int) *subnets {
	return &subnets{base: number(of.Addr()), bits: size, used: make([]bool, 1<<(size-of.Bits()))}
}

func (s *subnets) take() (subnet, error) {
	for ; s.first < len(s.used); s.first++ {
		if !s.used[s.first] {
			s.used[s.first] = true
			return newSubnet(s.base+uint32(s.first)<<(32-s.bits), s.bits), nil
		}
	}
	return subnet{}, fmt.Errorf("no /%d is left for another hollow node", s.bits)
}

// occupy takes a part that a node has already; false if it is not one of these parts.
func (s *subnets) occupy(prefix netip.Prefix) bool {
	if !prefix.Addr().Is4() || prefix.Bits() != s.bits || number(prefix.Addr()) < s.base {
		return false
	}
	i := int(number(prefix.Addr())-s.base) >> (32 - s.bits)
	if i >= len(s.used) || s.used[i] {
		return false
	}
	s.used[i] = true
	return true
}

func (s *subnets) release(of subnet) {
	i := int(of.base-s.base) >> (32 - s.bits)
	if of.base < s.base || of.bits != s.bits || i >= len(s.used) {
		return
	}
	s.used[i] = false
	s.first = min(s.first, i)
}

// subnet is a node's part of the range: its own address and those of its pods.
type subnet struct {
	base uint32
	bits int
	// taken has a bit for each address.
	taken []uint64
	next  uint32
}

func newSubnet(base uint32, size int) subnet {
	s := subnet{base: base, bits: size, taken: make([]uint64, max(1, 1<<(32-size)/64)), next: 2}
	return s
}

func (s *subnet) prefix() netip.Prefix { return netip.PrefixFrom(address(s.base), s.bits) }

// own is the node's address.
func (s *subnet) own() netip.Addr { return address(s.base + 1) }

// take hands out an address for a pod. It goes round, so that an address given back rests
// for a while.
func (s *subnet) take() (netip.Addr, bool) {
	size := uint32(1) << (32 - s.bits)
	for range size {
		n := s.next
		if s.next++; s.next >= size-1 {
			s.next = 2
		}
		if s.taken[n/64]&(1<<(n%64)) == 0 {
			s.taken[n/64] |= 1 << (n % 64)
			return address(s.base + n), true
		}
	}
	return netip.Addr{}, false
}

// occupy marks the address of a pod that has one already.
func (s *subnet) occupy(a netip.Addr) { s.mark(a, true) }

func (s *subnet) release(a netip.Addr) { s.mark(a, false) }

func (s *subnet) mark(a netip.Addr, taken bool) {
	if !s.prefix().Contains(a) {
		return
	}
	n := number(a) - s.base
	if taken {
		s.taken[n/64] |= 1 << (n % 64)
	} else {
		s.taken[n/64] &^= 1 << (n % 64)
	}
}

// count is the number of addresses taken.
func (s *subnet) count() (n int) {
	for _, word := range s.taken {
		n += bits.OnesCount64(word)
	}
	return n
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
