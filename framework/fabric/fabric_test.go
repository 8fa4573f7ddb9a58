package fabric

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newFabric(t *testing.T) *Fabric {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	f, err := New(netip.MustParsePrefix("10.77.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func newClient(t *testing.T, f *Fabric, name, address string) *Client {
	t.Helper()
	c, err := f.NewClient(name, netip.MustParseAddr(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The first frame through a new port must not be lost: a lost one costs a second.
func TestFirstFrameGetsThrough(t *testing.T) {
	f := newFabric(t)
	a, b := newClient(t, f, "a", "10.77.1.1"), newClient(t, f, "b", "10.77.1.2")
	for name, dial := range map[string]Dialer{"switch": f.DialContext, "client": a.DialContext} {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		_, err := dial(ctx, "tcp", "10.77.1.2:80")
		cancel()
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("from the %s: %v, want an answer that the connection is refused", name, err)
		}
	}
	_ = b
}

func TestFabricsDoNotSeeEachOther(t *testing.T) {
	one, two := newFabric(t), newFabric(t)
	newClient(t, one, "a", "10.77.1.1")
	other := newClient(t, two, "b", "10.77.1.2")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := other.DialContext(ctx, "tcp", "10.77.1.1:80"); errors.Is(err, unix.ECONNREFUSED) || err == nil {
		t.Errorf("an address of another fabric answered: %v", err)
	}
	if _, err := other.DialContext(t.Context(), "tcp", "192.0.2.1:80"); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("got %v, want the network to be unreachable: there must be no default route", err)
	}
}

func TestAttachRefuses(t *testing.T) {
	f := newFabric(t)
	newClient(t, f, "a", "10.77.1.1")
	for name, address := range map[string]string{"a": "10.77.1.9", "b": "10.78.0.1"} {
		if _, err := f.NewClient(name, netip.MustParseAddr(address)); err == nil {
			t.Errorf("client %s at %s was accepted", name, address)
		}
	}
}

func TestForwardCarriesBothWays(t *testing.T) {
	f := newFabric(t)
	server := newClient(t, f, "server", "10.77.1.1")
	listener, err := server.Net().Listen(t.Context(), "tcp", "10.77.1.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	forward, err := NewForward(0, "10.77.1.1:80", f.DialContext)
	if err != nil {
		t.Fatal(err)
	}
	defer forward.Close()
	conn, err := net.Dial("tcp", forward.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The end of the request must not cut the answer off.
	if data, err := io.ReadAll(conn); err != nil || string(data) != "ping" {
		t.Errorf("got %q %v", data, err)
	}
}
