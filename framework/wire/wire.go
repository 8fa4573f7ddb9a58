// Package wire carries JSON messages together with open files over a Unix
// sequenced-packet socket. The harness speaks it with the init process of a
// machine, and the command line speaks it with the supervisor of a cluster.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxMessage bounds one message. A sequenced packet is read whole or cut off.
	maxMessage = 1 << 20
	maxFiles   = 16
)

// Conn is one end of a connection. Send may be called from several goroutines,
// Receive from one at a time.
type Conn struct {
	socket *net.UnixConn
	send   sync.Mutex
	buffer []byte
}

// NewConn speaks over a socket of type unixpacket.
func NewConn(socket *net.UnixConn) *Conn {
	if raw, err := socket.SyscallConn(); err == nil {
		// The default send buffer is smaller than maxMessage; a refusal leaves the default.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*maxMessage)
		})
	}
	return &Conn{socket: socket}
}

// Pair makes two connected ends: one for this process, one as a file that a
// child process inherits.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "wire")
	ours, err := FromFile(os.NewFile(uintptr(fds[0]), "wire"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// FromFile takes over a socket that was inherited or received.
func FromFile(file *os.File) (*Conn, error) {
	defer file.Close()
	socket, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	unixSocket, ok := socket.(*net.UnixConn)
	if !ok {
		socket.Close()
		return nil, fmt.Errorf("wire: %s is not a Unix socket", file.Name())
	}
	return NewConn(unixSocket), nil
}

// Dial connects to a listening socket in the file system.
func Dial(path string) (*Conn, error) {
	socket, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return NewConn(socket), nil
}

// Listen makes a listening socket in the file system.
func Listen(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
}

// Send writes one message and passes copies of the files with it.
func (c *Conn) Send(message any, files ...*os.File) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("wire: message of %d bytes is larger than %d", len(data), maxMessage)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	c.send.Lock()
	defer c.send.Unlock()
	_, _, err = c.socket.WriteMsgUnix(data, rights, nil)
	return err
}

// Receive reads one message and the files that came with it; the caller closes
// them. io.EOF says that the other end is gone.
func (c *Conn) Receive(message any) ([]*os.File, error) {
	if c.buffer == nil {
		c.buffer = make([]byte, maxMessage)
	}
	control := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, controlLen, flags, _, err := c.socket.ReadMsgUnix(c.buffer, control)
	if err != nil {
		if errors.Is(err, unix.ECONNRESET) {
			return nil, io.EOF
		}
		return nil, err
	}
	files, err := received(control[:controlLen])
	if err != nil {
		return nil, err
	}
	if n == 0 && len(files) == 0 {
		return nil, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		CloseAll(files)
		return nil, errors.New("wire: message cut off")
	}
	if err := json.Unmarshal(c.buffer[:n], message); err != nil {
		CloseAll(files)
		return nil, fmt.Errorf("wire: %w", err)
	}
	return files, nil
}

func received(control []byte) ([]*os.File, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("wire: control message: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// CloseAll closes files that nobody will use.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Close ends the connection; the other end sees io.EOF.
func (c *Conn) Close() error { return c.socket.Close() }
