// Package netns makes and enters Linux network namespaces. A socket belongs to
// the namespace of the thread that made it and works from any thread after that,
// so dialling and listening inside a namespace need it only for a moment.
package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is an open network namespace. The kernel keeps it as long as it is
// open here, or a process lives in it.
type Namespace struct {
	file *os.File
}

// New makes an empty namespace, with a loopback device that is down.
func New() (*Namespace, error) {
	type result struct {
		ns  *Namespace
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine and no
		// other goroutine finds itself in the new namespace.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("make a network namespace: %w", err)}
			return
		}
		ns, err := open("/proc/thread-self/ns/net")
		done <- result{ns, err}
	}()
	r := <-done
	return r.ns, r.err
}

// OfProcess opens the namespace that a process lives in.
func OfProcess(pid int) (*Namespace, error) {
	return open(fmt.Sprintf("/proc/%d/ns/net", pid))
}

// FromFile takes over a namespace that another process opened and passed on.
func FromFile(file *os.File) *Namespace { return &Namespace{file: file} }

// File is the open namespace, to pass on; it stays the namespace's.
func (n *Namespace) File() *os.File { return n.file }

func open(path string) (*Namespace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return &Namespace{file: file}, nil
}

// FD is the file descriptor of the namespace; it stays valid until Close.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Close lets go of the namespace.
func (n *Namespace) Close() error { return n.file.Close() }

// Do runs f on a thread inside the namespace. What f starts in other goroutines
// runs outside it.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		// A thread that cannot go home stays locked and dies with this goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// DialContext connects from inside the namespace. The address must be a literal
// one: there is no name service on a fabric.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.Do(func() error {
		var dialer net.Dialer
		var err error
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens for stream connections inside the namespace.
func (n *Namespace) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var listener net.Listener
	err := n.Do(func() error {
		var config net.ListenConfig
		var err error
		listener, err = config.Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// ListenPacket opens a datagram socket inside the namespace.
func (n *Namespace) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := n.Do(func() error {
		var config net.ListenConfig
		var err error
		conn, err = config.ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}
