package fabric

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Dialer connects to an address.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Forward is a listener on the host's loopback whose connections are carried to
// an address on the fabric.
type Forward struct {
	listener net.Listener
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// NewForward listens on 127.0.0.1, on a port of the kernel's choice if port is 0,
// and carries each connection to target through dial.
func NewForward(port int, target string, dial Dialer) (*Forward, error) {
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen for the host: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Forward{listener: listener, cancel: cancel}
	f.work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			f.work.Go(func() { carry(ctx, near, target, dial) })
		}
	})
	return f, nil
}

// Address is where the host connects to.
func (f *Forward) Address() string { return f.listener.Addr().String() }

// Close stops listening and ends the connections.
func (f *Forward) Close() error {
	f.cancel()
	err := f.listener.Close()
	f.work.Wait()
	return err
}

func carry(ctx context.Context, near net.Conn, target string, dial Dialer) {
	defer near.Close()
	far, err := dial(ctx, "tcp", target)
	if err != nil {
		// The peer sees a reset instead of an orderly end, as it would of a closed port.
		if tcp, ok := near.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() { near.Close(); far.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { pour(far, near) })
	both.Go(func() { pour(near, far) })
	both.Wait()
}

// pour copies until the source ends and passes that end on, leaving the other
// direction open.
func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	to.Close()
}
