package fabric

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Door lets other processes of the host onto the fabric: an HTTP proxy on the host's
// loopback that answers CONNECT (RFC 9110, section 9.3.6) and nothing else.
type Door struct {
	listener net.Listener
	server   *http.Server
}

// OpenDoor listens on 127.0.0.1 and connects through dial.
func OpenDoor(dial Dialer) (*Door, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the host: %w", err)
	}
	d := &Door{listener: listener}
	d.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pass(w, r, dial) }), ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { _ = d.server.Serve(listener) }()
	return d, nil
}

// Address is what ThroughDoor takes.
func (d *Door) Address() string { return d.listener.Addr().String() }

// Close ends listening. Connections that are under way go on until either end closes.
func (d *Door) Close() error { return d.server.Close() }

func pass(w http.ResponseWriter, r *http.Request, dial Dialer) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this proxy answers CONNECT alone", http.StatusMethodNotAllowed)
		return
	}
	far, err := dial(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer near.Close()
	if _, err := near.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pour(far, &throughBuffer{near, buffered.Reader})
	}()
	pour(near, far)
	<-done
}

// throughBuffer reads what a server had read ahead before it read from the connection.
type throughBuffer struct {
	net.Conn
	reader *bufio.Reader
}

func (t *throughBuffer) Read(p []byte) (int, error) { return t.reader.Read(p) }

// CloseWrite passes the end of one direction on.
func (t *throughBuffer) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.Conn.Close()
}

// ThroughDoor connects to the fabric by way of another process's door. The error of a
// connection that the fabric refuses holds the kernel's words.
func ThroughDoor(address string) Dialer {
	return func(ctx context.Context, network, target string) (net.Conn, error) {
		if network != "tcp" && network != "tcp4" {
			return nil, fmt.Errorf("%s through a door: only TCP passes", network)
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("the door onto the fabric: %w", err)
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
		reader := bufio.NewReader(conn)
		if _, err := fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target); err != nil {
			conn.Close()
			return nil, err
		}
		answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
		if !stop() {
			err = errors.Join(ctx.Err(), err)
		}
		if err == nil && answer.StatusCode != http.StatusOK {
			words := make([]byte, 512)
			n, _ := answer.Body.Read(words)
			err = fmt.Errorf("%s: %s", target, words[:n])
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return &throughBuffer{conn, reader}, nil
	}
}
