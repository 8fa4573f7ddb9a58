package preflight

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// kubeconfig writes one that leads to a server.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + server + "'}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// answering is an API server that knows its version and nodes.
func answering(t *testing.T, nodes string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/version":
			w.Write([]byte(`{"gitVersion":"v1.37.2"}`))
		case "/api/v1/nodes":
			if nodes == "" {
				w.WriteHeader(http.StatusForbidden)
				w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"nodes is forbidden","reason":"Forbidden","code":403}`))
				return
			}
			w.Write([]byte(`{"kind":"NodeList","apiVersion":"v1","items":[` + nodes + `]}`))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const (
	ready     = `{"metadata":{"name":"node-1"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`
	tainted   = `{"metadata":{"name":"cp"},"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`
	notReady  = `{"metadata":{"name":"node-2"},"status":{"conditions":[{"type":"Ready","status":"False"}]}}`
	forbidden = ""
)

func TestWhatIsWrongIsSaidWithinTenSeconds(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("{]"), 0o600); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, test := range map[string]struct{ kubeconfig, want string }{
		"no file":        {filepath.Join(t.TempDir(), "none"), "there is no file"},
		"not one":        {garbage, "kubeconfig " + garbage},
		"nobody there":   {kubeconfig(t, "http://"+closed.Addr().String()), "does not answer: "},
		"no answer":      {kubeconfig(t, "http://"+silent.Addr().String()), "does not answer: "},
		"no right":       {kubeconfig(t, answering(t, forbidden)), "administrator's kubeconfig: nodes is forbidden"},
		"no usable node": {kubeconfig(t, answering(t, tainted+","+notReady)), "2 nodes, none of which"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			_, err := Connect(t.Context(), test.kubeconfig)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("said %v, not %q", err, test.want)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("said after %s", took)
			}
		})
	}
}

func TestAClusterThatWillDo(t *testing.T) {
	c, err := Connect(t.Context(), kubeconfig(t, answering(t, ready+","+tainted+","+notReady)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Version != "v1.37.2" || len(c.Nodes) != 1 || c.Nodes[0] != "node-1" {
		t.Errorf("found %+v", c)
	}
	if err := c.Alive(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestANodeThatBecameReadyJustNowIsWaitedFor(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
	client := fake.NewClientset(node)
	client.PrependWatchReactor("nodes", func(ktesting.Action) (bool, watch.Interface, error) {
		events := watch.NewFakeWithChanSize(1, false)
		settled := node.DeepCopy()
		settled.Spec.Taints = nil
		events.Modify(settled)
		return true, events, nil
	})
	c := &Cluster{Client: client}
	if err := c.findNodes(t.Context()); err != nil || !slices.Equal(c.Nodes, []string{"node-1"}) {
		t.Errorf("found %v, %v", c.Nodes, err)
	}
}

func TestRoomOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "made", "yet")
	if err := Disk(dir, 1); err != nil {
		t.Error(err)
	}
	if err := Disk(dir, 1<<62); err == nil || !strings.Contains(err.Error(), "no room on disk") {
		t.Errorf("a disk without room: %v", err)
	}
}

// nodesSay is a cluster whose nodes report a state of each pod's containers.
func nodesSay(state corev1.ContainerState) *Cluster {
	client := fake.NewClientset()
	client.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
		pod := action.(ktesting.CreateAction).GetObject().(*corev1.Pod)
		pod.Name = pod.GenerateName + pod.Spec.NodeName
		for _, container := range pod.Spec.Containers {
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: container.Name, Image: container.Image, State: state})
		}
		return false, nil, nil
	})
	// The fake does not tell a watch what was there before.
	client.PrependWatchReactor("pods", func(ktesting.Action) (bool, watch.Interface, error) {
		pods, err := client.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), metav1.NamespaceDefault)
		if err != nil {
			return true, nil, err
		}
		events := watch.NewFakeWithChanSize(10, false)
		for i := range pods.(*corev1.PodList).Items {
			events.Add(&pods.(*corev1.PodList).Items[i])
		}
		return true, events, nil
	})
	return &Cluster{Client: client, Nodes: []string{"node-1", "node-2"}}
}

func TestImagesThatCannotBeHad(t *testing.T) {
	c := nodesSay(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}})
	err := c.Images(t.Context(), []string{"registry.k8s.io/x:1"})
	if err == nil || !strings.Contains(err.Error(), "cannot have image registry.k8s.io/x:1") || !strings.Contains(err.Error(), "not found") {
		t.Errorf("said %v", err)
	}
	left, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("%d pods are left, error %v", len(left.Items), err)
	}
}

func TestImagesThatAreThere(t *testing.T) {
	begun := time.Now()
	c := nodesSay(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	if err := c.Images(t.Context(), []string{"registry.k8s.io/x:1", "registry.k8s.io/y:1"}); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > imageLimit/2 {
		t.Errorf("it took %s to see that they are there", took)
	}
}
