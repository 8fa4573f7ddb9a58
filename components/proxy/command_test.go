package proxy

import (
	"os"
	"runtime"
	"testing"

	googlenft "github.com/google/nftables"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/proxy/nftables"
)

func TestCleanupLeavesNoTable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	// The thread ends with the test, and the namespace with it.
	runtime.LockOSThread()
	namespace, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	tables := func() int {
		t.Helper()
		list, err := (&googlenft.Conn{}).ListTables()
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if err := nftables.New(nftables.Config{Family: corev1.IPv4Protocol, MasqueradeBit: 14}).Apply(nil); err != nil {
		t.Fatal(err)
	}
	if tables() != 1 {
		t.Fatal("there is nothing to clean up")
	}
	for range 2 { // The second time there is nothing to remove, which is no error.
		command := Command()
		command.SetArgs([]string{"--cleanup"})
		if err := command.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := tables(); n != 0 {
			t.Errorf("%d tables remain", n)
		}
	}
}
