package apiserver

import (
	"net"
	"testing"
	"time"
)

// aPort is free, as far as one can know.
func aPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestAwaitEtcdReturnsWhenOneOfItsServersAccepts(t *testing.T) {
	absent, late := aPort(t), aPort(t)
	listening := make(chan net.Listener, 1)
	go func() {
		time.Sleep(50 * time.Millisecond)
		listener, err := net.Listen("tcp", late)
		if err != nil {
			t.Error(err)
		}
		listening <- listener
	}()
	awaitEtcd(t.Context(), []string{"http://" + absent, "https://" + late})
	select {
	case listener := <-listening:
		listener.Close()
	default:
		t.Error("returned before etcd accepted connections")
	}
}

func TestAwaitEtcdGivesUp(t *testing.T) {
	for name, servers := range map[string][]string{
		"nobody listens": {"http://" + aPort(t)}, "a socket file": {"unix:///run/etcd.sock"}, "no address": {"http://[::1"}, "no server": nil,
	} {
		t.Run(name, func(t *testing.T) {
			awaitEtcd(t.Context(), servers) // a hang is the failure
		})
	}
}
