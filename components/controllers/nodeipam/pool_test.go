package nodeipam

import (
	"errors"
	"net/netip"
	"testing"
)

func poolOf(t *testing.T, cidr string, bits int) *pool {
	t.Helper()
	p, err := newPool(netip.MustParsePrefix(cidr), bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPool(t *testing.T) {
	p := poolOf(t, "10.88.0.0/22", 24)
	p.occupy(netip.MustParsePrefix("10.88.1.0/24"))
	for _, want := range []string{"10.88.0.0/24", "10.88.2.0/24", "10.88.3.0/24"} {
		if got, err := p.take(); err != nil || got.String() != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	if got, err := p.take(); !errors.Is(err, errExhausted) {
		t.Errorf("got %s, %v from an empty pool", got, err)
	}
	p.release(netip.MustParsePrefix("10.88.2.0/24"))
	if got, err := p.take(); err != nil || got.String() != "10.88.2.0/24" {
		t.Errorf("got %s, %v, want what was given back", got, err)
	}
}

func TestPoolKeepsOverlapsFree(t *testing.T) {
	p := poolOf(t, "10.0.0.0/16", 24)
	p.occupy(netip.MustParsePrefix("10.0.0.0/23")) // Services.
	p.occupy(netip.MustParsePrefix("10.0.2.7/32"))
	if got, err := p.take(); err != nil || got.String() != "10.0.3.0/24" {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestPoolIPv6(t *testing.T) {
	p := poolOf(t, "fd00:10:88::/56", 64)
	var last netip.Prefix
	for range 3 {
		last, _ = p.take()
	}
	if last.String() != "fd00:10:88:2::/64" {
		t.Errorf("the third is %s", last)
	}
}

func TestPoolRefusesSizes(t *testing.T) {
	for cidr, bits := range map[string]int{"10.0.0.0/24": 16, "10.0.0.0/16": 33, "fd00::/32": 64} {
		if _, err := newPool(netip.MustParsePrefix(cidr), bits); err == nil {
			t.Errorf("/%d of %s was accepted", bits, cidr)
		}
	}
}
