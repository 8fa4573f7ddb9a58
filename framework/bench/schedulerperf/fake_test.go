package schedulerperf

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumbline/plumbline/framework/cluster"
)

// manners is the variable that says how the scheduler behaves that this test's own
// binary is, started under that name.
const manners = "SCHEDULER_MANNERS"

// The schedulers that there are.
const (
	// honest binds pods to nodes by turns.
	honest = "honest"
	// crashing does so for a while.
	crashing = "crashing"
	// crowding binds all pods to one node.
	crowding = "crowding"
	// idle serves and does nothing.
	idle = "idle"
	// silent does not even serve.
	silent = "silent"
)

// endures is how many pods the crashing one binds.
const endures = 5

func TestMain(m *testing.M) {
	cluster.RunIfInit()
	if filepath.Base(os.Args[0]) == cluster.Scheduler {
		err := schedule(context.Background(), os.Getenv(manners))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// schedule is a scheduler, of a kind.
func schedule(ctx context.Context, how string) error {
	flags := flag.NewFlagSet(cluster.Scheduler, flag.ContinueOnError)
	config := flags.String("kubeconfig", "", "")
	for _, ignored := range []string{"config", "leader-elect", "authorization-always-allow-paths"} {
		flags.String(ignored, "", "")
	}
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", *config)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	if how == silent {
		select {}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:10259")
	if err != nil {
		return err
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			http.NotFound(w, r)
		}
	}))
	server.Listener.Close()
	server.Listener = listener
	server.StartTLS()
	if how == idle {
		select {}
	}
	// From the beginning, so that pods that are there already are told of, too.
	pods, err := client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "spec.nodeName="})
	if err != nil {
		return err
	}
	tried := map[string]bool{}
	for event := range pods.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok || tried[pod.Name] {
			continue
		}
		if how == crashing && len(tried) == endures {
			return fmt.Errorf("out of ideas after %d pods", endures)
		}
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		node := nodes.Items[0]
		if how != crowding {
			node = nodes.Items[len(tried)%len(nodes.Items)]
		}
		tried[pod.Name] = true
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: node.Name}}
		if err := client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return fmt.Errorf("the watch ended")
}
