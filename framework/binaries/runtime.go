package binaries

const containerdModule = "github.com/containerd/containerd/v2"

// Runtime is what every cluster runs beside its components.
func Runtime() Group {
	const (
		cni     = "github.com/containernetworking/plugins"
		runc    = "github.com/opencontainers/runc"
		coredns = "github.com/coredns/coredns"
		etcdctl = "go.etcd.io/etcd/etcdctl/v3"
	)
	containerdVersion := map[string]string{containerdModule + "/version.Version": "{version}"}
	plugin := func(name, folder string) Program {
		return Program{Name: name, Package: cni + "/plugins/" + folder + "/" + name, Module: cni,
			Variables: map[string]string{cni + "/pkg/utils/buildversion.BuildVersion": "{version}"}, Static: true}
	}
	return Group{Name: "binaries", Module: "fixtures/binaries", Programs: []Program{
		{Name: "containerd", Package: "./containerd", Module: containerdModule, Variables: containerdVersion},
		{Name: "containerd-shim-runc-v2", Package: "./shim/start", Module: containerdModule},
		{Name: "containerd-shim-node", Package: "./shim", Module: containerdModule, Variables: containerdVersion, Static: true},
		{Name: "runc", Package: runc, Module: runc, Tags: "seccomp,urfave_cli_no_docs", Static: true, Seccomp: true},
		{Name: "runc-init", Package: "./shim/init", Module: runc, Tags: "seccomp", Static: true, Seccomp: true},
		{Name: "plumb-bridge", Package: "./bridge"},
		plugin("bridge", "main"), plugin("ptp", "main"), plugin("loopback", "main"),
		plugin("host-local", "ipam"), plugin("portmap", "meta"),
		{Name: "coredns", Package: "./coredns", Module: coredns,
			Variables: map[string]string{coredns + "/coremain.GitCommit": "{version}"}, Static: true},
		{Name: "etcdctl", Package: etcdctl, Module: etcdctl, Static: true},
	}}
}
