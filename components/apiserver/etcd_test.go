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
	begun := time.Now()
	awaitEtcd(t.Context(), []string{"http://" + aPort(t)}) // a hang is the other failure
	if waited := time.Since(begun); waited < etcdPatience {
		t.Errorf("gave up after %s", waited)
	}
}

func TestAwaitEtcdLeavesOtherAddressesToTheClient(t *testing.T) {
	for _, server := range []string{"unix:///run/etcd.sock", "http://[::1"} {
		awaitEtcd(t.Context(), []string{server}) // a hang or a panic is the failure
	}
}
