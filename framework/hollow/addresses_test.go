package hollow

import (
	"net/netip"
	"testing"
)

func TestSubnetsAreGivenBack(t *testing.T) {
	all := newSubnets(netip.MustParsePrefix("10.0.0.0/22"), 24)
	if !all.occupy(netip.MustParsePrefix("10.0.1.0/24")) || all.occupy(netip.MustParsePrefix("10.0.9.0/24")) || all.occupy(netip.MustParsePrefix("10.0.2.0/25")) {
		t.Error("only parts of the range can be occupied")
	}
	var last subnet
	for _, want := range []string{"10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"} {
		got, err := all.take()
		if err != nil || got.prefix().String() != want {
			t.Errorf("got %s, %v, want %s", got.prefix(), err, want)
		}
		last = got
	}
	if _, err := all.take(); err == nil {
		t.Error("the range is not used up")
	}
	all.release(last)
	if got, err := all.take(); err != nil || got.prefix() != last.prefix() {
		t.Errorf("got %s, %v, want what was given back", got.prefix(), err)
	}
}

func TestSubnetGoesRound(t *testing.T) {
	s := newSubnet(number(netip.MustParseAddr("10.0.7.0")), 24)
	first, _ := s.take()
	s.occupy(netip.MustParseAddr("10.0.7.3"))
	s.occupy(netip.MustParseAddr("10.9.9.9")) // another's
	second, _ := s.take()
	s.release(first)
	if first.String() != "10.0.7.2" || second.String() != "10.0.7.4" || s.own().String() != "10.0.7.1" || s.count() != 2 {
		t.Errorf("%s and %s, %d taken", first, second, s.count())
	}
	seen := map[netip.Addr]bool{}
	for a, ok := s.take(); ok; a, ok = s.take() {
		if seen[a] || a == second {
			t.Fatalf("%s was given twice", a)
		}
		seen[a] = true
	}
	if len(seen) != 251 || seen[netip.MustParseAddr("10.0.7.255")] || seen[netip.MustParseAddr("10.0.7.0")] {
		t.Errorf("%d addresses", len(seen))
	}
}
