package allocation

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// records stands for the stored IPAddress objects.
type records map[string]bool

func (r records) Get(_ context.Context, gr schema.GroupResource, _, name string) (runtime.Object, error) {
	if r[name] {
		return &networkingv1.IPAddress{}, nil
	}
	return nil, apierrors.NewNotFound(gr, name)
}
func (r records) GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	return r.Get(ctx, gr, namespace, name)
}
func (r records) List(context.Context, schema.GroupResource, string) ([]runtime.Object, error) {
	return nil, nil
}
func (r records) Create(_ context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error) {
	name := obj.(*networkingv1.IPAddress).Name
	if r[name] {
		return nil, apierrors.NewAlreadyExists(gr, name)
	}
	r[name] = true
	return obj, nil
}
func (r records) Delete(_ context.Context, _ schema.GroupResource, _, name string) error {
	delete(r, name)
	return nil
}

func TestAddressesAreHandedOutOnceEach(t *testing.T) {
	ctx, store := context.Background(), records{}
	a := NewAddresses(store, netip.MustParsePrefix("10.0.0.0/27"))
	seen := map[string]bool{}
	for range 30 {
		ip, err := a.Next(ctx, resource.Holder{})
		if err != nil {
			t.Fatal(err)
		}
		if seen[ip] {
			t.Fatalf("%s was handed out twice", ip)
		}
		seen[ip] = true
		if len(seen) <= 14 && netip.MustParseAddr(ip).Less(netip.MustParseAddr("10.0.0.17")) {
			t.Errorf("%s is from the lower part while the upper one lasts", ip)
		}
	}
	if seen["10.0.0.0"] || seen["10.0.0.31"] {
		t.Error("the network's or the broadcast address was handed out")
	}
	if _, err := a.Next(ctx, resource.Holder{}); !errors.Is(err, resource.ErrFull) {
		t.Errorf("got %v, want %v", err, resource.ErrFull)
	}
	if err := a.Release(ctx, "10.0.0.7"); err != nil {
		t.Fatal(err)
	}
	if ip, err := a.Next(ctx, resource.Holder{}); err != nil || ip != "10.0.0.7" {
		t.Errorf("got %s, %v, want the released address", ip, err)
	}
}

func TestTake(t *testing.T) {
	ctx := context.Background()
	a := NewAddresses(records{"10.0.0.5": true}, netip.MustParsePrefix("10.0.0.0/24"))
	for ip, want := range map[string]string{
		"10.0.0.9":   "",
		"10.0.0.5":   resource.ErrAddressTaken.Error(),
		"10.0.0.255": "the provided IP (10.0.0.255) is not in the valid range. The range of valid IPs is 10.0.0.0/24",
		"10.1.0.1":   "the provided network does not match the current range",
	} {
		got := ""
		if err := a.Take(ctx, ip, resource.Holder{DryRun: true}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", ip, got, want)
		}
	}
}
