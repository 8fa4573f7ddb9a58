package runtime

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/plumbline/plumbline/framework/images"
)

// Standard paths inside a machine.
const (
	Socket     = "/run/containerd/containerd.sock"
	ConfigFile = "/etc/containerd/config.toml"
	CNIConfDir = "/etc/cni/net.d"
	CNIBinDir  = "/opt/cni/bin"
	CertsDir   = "/etc/containerd/certs.d"
	stateDir   = "/run/containerd"
	rootDir    = "/var/lib/containerd"
)

// Node is one machine's container runtime.
type Node struct {
	Assets Assets
	// Root is the directory on the host that is /var/lib/containerd in the
	// machine; its file system must be able to hold an overlay's upper directory.
	Root string
	// Registry is where the node pulls from what it lacks: the address of a registry
	// that speaks plain HTTP.
	Registry string
}

// Prepare fills Root with all images. Call it once, before containerd's first
// start; a Root that is already prepared is left as it is.
func (n Node) Prepare() error {
	if _, err := os.Stat(filepath.Join(n.Root, metadataDir, "meta.db")); err == nil {
		return nil
	}
	if err := adopt(n.Assets.Template, n.Root); err != nil {
		return fmt.Errorf("containerd root %s: %w", n.Root, err)
	}
	return nil
}

// adopt makes root a data directory with all images of a template: its databases,
// copied, and links to everything else.
func adopt(template, root string) error {
	for _, tree := range []string{filepath.Join(contentDir, "blobs/sha256"), filepath.Join(snapshotDir, "snapshots")} {
		from, to := filepath.Join(template, tree), filepath.Join(root, tree)
		if err := os.MkdirAll(to, 0o711); err != nil {
			return err
		}
		err := eachName(from, func(name string) error {
			return os.Symlink(filepath.Join(from, name), filepath.Join(to, name))
		})
		if err != nil {
			return err
		}
	}
	// The database last: it is the sign that the rest is complete.
	for _, db := range []string{filepath.Join(snapshotDir, "metadata.db"), filepath.Join(metadataDir, "meta.db")} {
		if err := copyFile(filepath.Join(template, db), filepath.Join(root, db)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o711); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// Transient are the directories below Root in which each container has one of its own.
func (n Node) Transient() []string {
	return []string{
		filepath.Join(n.Root, snapshotDir, "snapshots"),
		filepath.Join(n.Root, "io.containerd.grpc.v1.cri", "sandboxes"),
		filepath.Join(n.Root, "io.containerd.grpc.v1.cri", "containers"),
		filepath.Join(n.Root, "io.containerd.runtime.v2.task", "k8s.io"),
	}
}

// Argv is containerd's command line.
func (n Node) Argv() []string {
	return []string{n.Assets.Binaries.Path("containerd"), "--config", ConfigFile, "--log-level", "warn"}
}

// Env is what containerd's environment needs besides PATH. The shims inherit it.
func (n Node) Env() []string {
	return []string{
		"GOMAXPROCS=2",
	}
}

// Files are the files that the machine must have before containerd starts, by absolute path.
func (n Node) Files() map[string]string {
	files := map[string]string{ConfigFile: n.config()}
	if n.Registry == "" {
		return files
	}
	// A registry named here does not exist beyond what the local one has of it, so that an
	// unknown image is known to be unknown. Any other is asked itself after the local one:
	// it may run in the cluster.
	local := fmt.Sprintf("[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", "http://"+n.Registry)
	files[CertsDir+"/_default/hosts.toml"] = local
	for _, registry := range []string{"docker.io", "registry.k8s.io"} {
		files[CertsDir+"/"+registry+"/hosts.toml"] = fmt.Sprintf("server = %q\n", "http://"+n.Registry)
	}
	return files
}

// config is containerd's configuration: https://github.com/containerd/containerd/blob/main/docs/cri/config.md.
func (n Node) config() string {
	return fmt.Sprintf(`version = 4
root = %q
state = %q
# A machine of namespaces lacks CAP_SYS_RESOURCE: no OOM score may be lowered.
oom_score = 0

[plugins."io.containerd.server.v1.grpc"]
address = %q

[plugins."io.containerd.metadata.v1.bolt"]
# The node's data lives no longer than the node.
no_sync = true

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
stats_collect_period = 10
pinned_images = { sandbox = %q }
registry = { config_path = %q }

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
enable_criu = false
cdi_spec_dirs = []

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [%q, %q]
conf_dir = %q
use_internal_loopback = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
# The shim is found beside containerd. Naming its path would cost one more start of it a container.
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = %q
SystemdCgroup = false

[plugins."io.containerd.nri.v1.nri"]
disable = true
`, rootDir, stateDir, Socket, images.Pause, CertsDir, CNIBinDir, n.Assets.Binaries.Dir, CNIConfDir,
		n.Assets.Binaries.Path("runc"))
}
