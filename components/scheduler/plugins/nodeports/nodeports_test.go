package nodeports

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func port(ip string, protocol v1.Protocol, number int32) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, v1.ContainerPort{HostIP: ip, Protocol: protocol, HostPort: number})
	}
}

func TestFilter(t *testing.T) {
	always := v1.ContainerRestartPolicyAlways
	sidecar := func(p *v1.Pod) {
		p.Spec.InitContainers = []v1.Container{{RestartPolicy: &always, Ports: []v1.ContainerPort{{HostPort: 80}}}}
	}
	for _, test := range []struct {
		name           string
		running, wants func(*v1.Pod)
		want           string
	}{
		{"none wanted", port("", v1.ProtocolTCP, 80), func(*v1.Pod) {}, ""},
		{"same", port("", v1.ProtocolTCP, 80), port("", v1.ProtocolTCP, 80), Reason},
		{"another port", port("", v1.ProtocolTCP, 80), port("", v1.ProtocolTCP, 81), ""},
		{"another protocol", port("", v1.ProtocolTCP, 80), port("", v1.ProtocolUDP, 80), ""},
		{"another address", port("127.0.0.1", v1.ProtocolTCP, 80), port("127.0.0.2", v1.ProtocolTCP, 80), ""},
		{"all addresses against one", port("127.0.0.1", v1.ProtocolTCP, 80), port("0.0.0.0", v1.ProtocolTCP, 80), Reason},
		{"one address against all", port("", v1.ProtocolTCP, 80), port("127.0.0.1", v1.ProtocolTCP, 80), Reason},
		{"protocol unstated is TCP", port("", "", 80), port("", v1.ProtocolTCP, 80), Reason},
		{"a sidecar's", sidecar, port("", v1.ProtocolTCP, 80), Reason},
	} {
		cluster := NewCluster(t, Node("n"), Pod("running", On("n"), test.running))
		if got := cluster.Filter(t, NodePorts{}, Pod("p", test.wants))["n"]; got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestHint(t *testing.T) {
	waiting := Pod("p", port("", v1.ProtocolTCP, 80))
	for _, test := range []struct {
		name string
		gone *v1.Pod
		want fwk.QueueingHint
	}{
		{"frees the port", Pod("g", On("n"), port("", v1.ProtocolTCP, 80)), fwk.Queue},
		{"frees another port", Pod("g", On("n"), port("", v1.ProtocolTCP, 81)), fwk.QueueSkip},
		{"never had a node", Pod("g", port("", v1.ProtocolTCP, 80)), fwk.QueueSkip},
	} {
		if got, err := podDeleted(klog.Background(), waiting, test.gone, nil); got != test.want || err != nil {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
	}
}
