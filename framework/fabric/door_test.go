package fabric

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

func TestDoorCarriesBothDirectionsAndTheEnd(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		said, _ := io.ReadAll(conn) // until the client's end has come through
		_, _ = conn.Write([]byte("heard " + string(said)))
	}()
	door, err := OpenDoor((&net.Dialer{}).DialContext)
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	conn, err := ThroughDoor(door.Address())(context.Background(), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != "heard hello" {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestDoorTellsOfARefusal(t *testing.T) {
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	door, err := OpenDoor((&net.Dialer{}).DialContext)
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	_, err = ThroughDoor(door.Address())(context.Background(), "tcp", closed.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want the refusal", err)
	}
}
