package hostport

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(name string, age time.Duration, change func(*corev1.Pod), ports ...corev1.ContainerPort) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age))},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: ports}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.88.1.2"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestOf(t *testing.T) {
	web := corev1.ContainerPort{HostPort: 80, ContainerPort: 8080, Protocol: corev1.ProtocolTCP}
	to := netip.MustParseAddrPort("10.88.1.2:8080")
	all := Mapping{Protocol: corev1.ProtocolTCP, Port: 80, To: to}
	local := all
	local.Address = netip.MustParseAddr("127.0.0.1")
	at := func(ip string) corev1.ContainerPort {
		p := web
		p.HostIP = ip
		return p
	}
	elsewhere := func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.88.1.3"}} }
	tests := []struct {
		name string
		pods []*corev1.Pod
		want []Mapping
	}{
		{"one port", []*corev1.Pod{pod("a", 0, nil, web)}, []Mapping{all}},
		{"0.0.0.0 is every address", []*corev1.Pod{pod("a", 0, nil, at("0.0.0.0"))}, []Mapping{all}},
		{"one address goes first", []*corev1.Pod{pod("a", 0, nil, web, at("127.0.0.1"))}, []Mapping{local, all}},
		{"the older pod has it", []*corev1.Pod{pod("young", 0, elsewhere, web), pod("old", time.Hour, nil, web)}, []Mapping{all}},
		{"no host port", []*corev1.Pod{pod("a", 0, nil, corev1.ContainerPort{ContainerPort: 1})}, nil},
		{"in the host's network", []*corev1.Pod{pod("a", 0, func(p *corev1.Pod) { p.Spec.HostNetwork = true }, web)}, nil},
		{"over", []*corev1.Pod{pod("a", 0, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, web)}, nil},
		{"the other family", []*corev1.Pod{pod("a", 0, nil, at("fd00::1"))}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Of(test.pods); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
