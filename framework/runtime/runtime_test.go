package runtime_test

import (
	"context"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/framework/images"
	"github.com/plumbline/plumbline/framework/netns"
	"github.com/plumbline/plumbline/framework/registry"
	"github.com/plumbline/plumbline/framework/runtime"
)

// node is a containerd in mount, network and PID namespaces of its own.
type node struct {
	cri.RuntimeServiceClient
	cri.ImageServiceClient
	dir    string
	cgroup string
	net    *netns.Namespace
	ready  time.Duration // from process start to the CRI's first answer
}

const bridgeConf = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"plumb-bridge","bridge":"cni0","ranges":["10.88.1.0/24"]}]}`

func startNode(tb testing.TB, assets runtime.Assets) *node {
	tb.Helper()
	dir := tb.TempDir()
	n := runtime.Node{Assets: assets, Root: filepath.Join(dir, "lib/containerd"), Registry: registryAddress}
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
	namespace, err := netns.OfProcess(cmd.Process.Pid)
	if err != nil {
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
		dir: dir, net: namespace, cgroup: "/plumb-runtime-test-" + filepath.Base(filepath.Dir(dir))}
	tb.Cleanup(func() {
		conn.Close()
		namespace.Close()
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

// registryAddress is where a node of these tests looks for a registry.
const registryAddress = "127.0.0.1:5000"

func builtAssets(tb testing.TB, archives ...string) runtime.Assets {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("namespaces and mounts need root")
	}
	if testing.Short() {
		tb.Skip("builds containerd where the cache lacks it")
	}
	assets, err := runtime.Build(tb.Context(), runtime.Additions{Archives: archives}, func(step string) { tb.Log(step) })
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

// TestImagesComeFromTheRegistry pulls what a node has removed, and what nobody has.
func TestImagesComeFromTheRegistry(t *testing.T) {
	assets := builtAssets(t)
	n := startNode(t, assets)
	listener, err := n.net.Listen(t.Context(), "tcp4", registryAddress)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: registry.New(func() ([]images.Layout, error) { return assets.Images, nil })}
	defer server.Close()
	go server.Serve(listener)
	ctx := t.Context()
	for _, name := range []string{"docker.io/library/busybox:1.36", "plumbline.dev/agent:v1"} {
		image := &cri.ImageSpec{Image: name}
		before, err := n.ImageStatus(ctx, &cri.ImageStatusRequest{Image: image})
		if err != nil || before.Image == nil {
			t.Fatalf("%s: %v %v", name, before, err)
		}
		if _, err := n.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: before.Image.Id}}); err != nil {
			t.Fatal(err)
		}
		pulled, err := n.PullImage(ctx, &cri.PullImageRequest{Image: image})
		if err != nil {
			t.Fatal(err)
		}
		if pulled.ImageRef != before.Image.Id {
			t.Errorf("%s: pulled %s, had %s", name, pulled.ImageRef, before.Image.Id)
		}
		if _, _, _, err := n.run(ctx, filepath.Base(name), name); err != nil {
			t.Errorf("%s: run what was pulled: %v", name, err)
		}
	}
	for _, name := range []string{"docker.io/library/webserver:404", "registry.k8s.io/pause:0.0", "example.org/none:1"} {
		if _, err := n.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: name}}); status.Code(err) != codes.NotFound {
			t.Errorf("%s: error %v, want that it was not found", name, err)
		}
	}
}

func TestImagesOfArchivesStandBesideTheUsual(t *testing.T) {
	// Compressed layers, as others make them, and the same each time, since they end up in the cache.
	layer, err := random.Layer(4096, types.DockerLayer, random.WithSource(rand.NewSource(1)))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("mine:v1")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mine.tar")
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, builtAssets(t, path))
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mine:v1", "busybox:1.36"} {
		got, err := n.ImageStatus(t.Context(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: "docker.io/library/" + name}})
		if err != nil || got.Image == nil {
			t.Errorf("%s: %v %v", name, got, err)
		} else if name == "mine:v1" && got.Image.Id != id.String() {
			t.Errorf("%s is %s, want %s", name, got.Image.Id, id)
		}
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

// TestOneShimServesAllPods shows that pods share a process, and that a node whose shim was killed tells of
// its containers' ends and starts further ones.
func TestOneShimServesAllPods(t *testing.T) {
	n := startNode(t, builtAssets(t))
	ctx := t.Context()
	const image = "docker.io/library/busybox:1.36"
	var containers []string
	for _, name := range []string{"first", "second"} {
		_, container, _, err := n.run(ctx, name, image, "sleep", "100")
		if err != nil {
			t.Fatal(err)
		}
		containers = append(containers, container)
	}
	shims := n.shims(t)
	if len(shims) != 1 {
		t.Fatalf("%d shims for two pods", len(shims))
	}
	if err := syscall.Kill(shims[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, id := range containers {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			answer, err := n.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
			if err == nil && answer.Status.State == cri.ContainerState_CONTAINER_EXITED {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("container %s of the killed shim: %v %v", id, answer.GetStatus().GetState(), err)
			}
		}
	}
	pod, container, _, err := n.run(ctx, "third", image, "sleep", "100")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := n.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: []string{"echo", "works"}}); err != nil || string(out.Stdout) != "works\n" {
		t.Errorf("exec: %v %v", out, err)
	}
	if err := n.remove(ctx, pod); err != nil {
		t.Error(err)
	}
	if shims = n.shims(t); len(shims) != 1 {
		t.Errorf("%d shims after the last pod, want one that waits for the next", len(shims))
	}
}

// shims finds the shims of this node.
func (n *node) shims(tb testing.TB) (pids []int) {
	tb.Helper()
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		line, err := os.ReadFile(filepath.Join(name, "cmdline"))
		if err != nil || !strings.HasPrefix(string(line), "containerd-shim-node\x00") {
			continue
		}
		// Another cluster of this host may have its own.
		here, err := os.Stat(filepath.Join(name, "root/run/containerd"))
		ours, err2 := os.Stat(filepath.Join(n.dir, "run/containerd"))
		if err != nil || err2 != nil || !os.SameFile(here, ours) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
