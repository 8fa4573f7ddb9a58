package runtime_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/framework/runtime"
)

// node is a containerd in mount, network and PID namespaces of its own.
type node struct {
	cri.RuntimeServiceClient
	cri.ImageServiceClient
	dir    string
	cgroup string
	ready  time.Duration // from process start to the CRI's first answer
}

const bridgeConf = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,
"ipMasq":false,"ipam":{"type":"host-local","dataDir":"/run/cni","ranges":[[{"subnet":"10.88.1.0/24"}]]}}]}`

func startNode(tb testing.TB, assets runtime.Assets) *node {
	tb.Helper()
	dir := tb.TempDir()
	n := runtime.Node{Assets: assets, Root: filepath.Join(dir, "lib/containerd")}
	if err := n.Prepare(); err != nil {
		tb.Fatal(err)
	}
	files := n.Files()
	files["/etc/cni/net.d/10-pods.conflist"] = bridgeConf
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	for _, sub := range []string{"run/containerd", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for _, file := range []string{"hosts", "resolv.conf"} {
		if err := os.WriteFile(filepath.Join(dir, "etc", file), nil, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	// The shell is the PID namespace's first process: with it, all ends.
	script := fmt.Sprintf(`mount --bind %[1]s/lib /var/lib && mount --bind %[1]s/run /run && mount --bind %[1]s/etc /etc && mount --bind %[1]s/log /var/log &&
mount -t proc proc /proc && mount --make-rshared / && ip link set lo up && %[2]s & wait`, dir, strings.Join(n.Argv(), " "))
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), n.Env()...)
	log, err := os.Create(filepath.Join(dir, "containerd.log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	started := time.Now()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	socket := filepath.Join(dir, "run/containerd/containerd.sock")
	// A client that dials too early backs off for a second.
	for deadline := started.Add(20 * time.Second); ; {
		if _, err := os.Stat(socket); err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	out := &node{RuntimeServiceClient: cri.NewRuntimeServiceClient(conn), ImageServiceClient: cri.NewImageServiceClient(conn),
		dir: dir, cgroup: "/plumb-runtime-test-" + filepath.Base(filepath.Dir(dir))}
	tb.Cleanup(func() {
		conn.Close()
		cmd.Process.Kill()
		cmd.Wait()
		removeCgroups(out.cgroup)
		if tb.Failed() {
			data, _ := os.ReadFile(log.Name())
			tb.Logf("containerd's log:\n%s", data)
		}
	})
	for deadline := started.Add(20 * time.Second); ; {
		_, err := out.Version(tb.Context(), &cri.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			tb.Fatalf("containerd does not answer: %v", err)
		}
	}
	out.ready = time.Since(started)
	return out
}

// removeCgroups removes the dead containers' empty cgroups, on v1 and v2. The
// kernel lets go of the last dead process a little after it can be waited for.
func removeCgroups(name string) {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		roots, _ := filepath.Glob("/sys/fs/cgroup/*" + name)
		if _, err := os.Stat("/sys/fs/cgroup" + name); err == nil {
			roots = append(roots, "/sys/fs/cgroup"+name)
		}
		if len(roots) == 0 {
			return
		}
		for _, root := range roots {
			entries, _ := os.ReadDir(root)
			for _, entry := range entries {
				if entry.IsDir() {
					syscall.Rmdir(filepath.Join(root, entry.Name()))
				}
			}
			syscall.Rmdir(root)
		}
	}
}

// run starts a pod with one container and returns both IDs and how long each call took.
func (n *node) run(ctx context.Context, name, image string, args ...string) (pod, container string, took [3]time.Duration, err error) {
	sandbox := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "default"},
		LogDirectory: "/var/log/" + name,
		Linux:        &cri.LinuxPodSandboxConfig{CgroupParent: n.cgroup},
	}
	mark := time.Now()
	lap := func(i int) {
		took[i] = time.Since(mark)
		mark = time.Now()
	}
	p, err := n.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return "", "", took, err
	}
	lap(0)
	c, err := n.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: p.PodSandboxId, SandboxConfig: sandbox,
		Config: &cri.ContainerConfig{Metadata: &cri.ContainerMetadata{Name: "c"}, Image: &cri.ImageSpec{Image: image}, Args: args, LogPath: "c.log",
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{}}}})
	if err != nil {
		return p.PodSandboxId, "", took, err
	}
	lap(1)
	_, err = n.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId})
	lap(2)
	return p.PodSandboxId, c.ContainerId, took, err
}

func (n *node) remove(ctx context.Context, pod string) error {
	if _, err := n.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		return err
	}
	_, err := n.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod})
	return err
}

func builtAssets(tb testing.TB) runtime.Assets {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("namespaces and mounts need root")
	}
	if testing.Short() {
		tb.Skip("builds containerd where the cache lacks it")
	}
	assets, err := runtime.Build(tb.Context(), runtime.Additions{}, func(step string) { tb.Log(step) })
	if err != nil {
		tb.Fatal(err)
	}
	return assets
}

func TestImagesAreSharedAndRemovedAlone(t *testing.T) {
	assets := builtAssets(t)
	first, second := startNode(t, assets), startNode(t, assets)
	ctx := t.Context()
	list, err := first.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, img := range list.Images {
		for _, tag := range img.RepoTags {
			ids[tag] = img.Id
			if want := tag == "registry.k8s.io/pause:3.10.2"; img.Pinned != want {
				t.Errorf("%s: pinned is %v", tag, img.Pinned)
			}
		}
	}
	if ids["docker.io/library/nginx:1.14.2"] == "" || ids["docker.io/library/nginx:1.14.2"] == ids["docker.io/library/nginx:1.16.1"] {
		t.Errorf("nginx:1.14.2 and nginx:1.16.1 are not two images: %v", ids)
	}
	const image = "docker.io/library/busybox:1.36"
	if _, err := first.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}}); err != nil {
		t.Fatal(err)
	}
	if status, err := first.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: image}}); err != nil || status.Image != nil {
		t.Errorf("the image is still on the node that removed it: %v %v", status, err)
	}
	_, container, _, err := second.run(ctx, "works", image, "sleep", "100")
	if err != nil {
		t.Fatalf("on the other node: %v", err)
	}
	out, err := second.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: []string{"sh", "-c", "echo new >/etc/passwd && cat /etc/passwd && ip -4 -o addr"}})
	if err != nil || out.ExitCode != 0 || !strings.Contains(string(out.Stdout), "new") || !strings.Contains(string(out.Stdout), "10.88.1.") {
		t.Errorf("exec: %v %v", out, err)
	}
	if _, container, _, err = first.run(ctx, "unharmed", "docker.io/library/nginx:1.14.2"); err != nil {
		t.Fatal(err)
	}
	if out, err = first.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: []string{"cat", "/etc/passwd"}}); err != nil ||
		strings.Contains(string(out.Stdout), "new") {
		t.Errorf("exec: %v %v", out, err)
	}
}

func BenchmarkPod(b *testing.B) {
	n := startNode(b, builtAssets(b))
	var sums [3]time.Duration
	i := 0
	for b.Loop() {
		pod, _, took, err := n.run(b.Context(), fmt.Sprintf("p%d", i), "registry.k8s.io/pause:3.10.2")
		if err != nil {
			b.Fatal(err)
		}
		for k := range sums {
			sums[k] += took[k]
		}
		i++
		b.StopTimer()
		if err := n.remove(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(n.ready.Milliseconds()), "ms-to-cri")
	for k, what := range []string{"ms-sandbox", "ms-create", "ms-start"} {
		b.ReportMetric(float64(sums[k].Microseconds())/1000/float64(i), what)
	}
}
