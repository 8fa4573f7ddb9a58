// Package suite is what every spec works with: the cluster under test, seen through its
// API and from outside its machines, a namespace for each spec, and short ways to make
// the objects that specs need. It knows nothing of how the cluster was made.
package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/supervisor"
)

// Suite is the cluster under test.
type Suite struct {
	// Config reaches the API as an administrator.
	Config *rest.Config
	// Kubeconfig is the file that Config was read from.
	Kubeconfig string
	// Client reads, writes and watches any object; Clientset has what is not an object
	// (logs, exec, eviction), Dynamic what has no Go type.
	Client    client.WithWatch
	Clientset kubernetes.Interface
	Dynamic   dynamic.Interface
	// Watch waits for objects.
	Watch expect.Watcher
	// outside is where FromOutside's connections come from.
	outside Dialer
	// Machines works on the cluster's machines and components; nil where they are not
	// this host's: see OwnMachines.
	Machines *supervisor.Client
}

// OwnMachines skips the spec where the cluster's machines cannot be worked on.
func (s *Suite) OwnMachines() *supervisor.Client {
	ginkgo.GinkgoHelper()
	if s.Machines == nil {
		ginkgo.Skip("needs the cluster's machines; a cluster that only a kubeconfig leads to gives no hold of them")
	}
	return s.Machines
}

// Connect reads a kubeconfig and asks the cluster for its version, so that a cluster
// that cannot be reached is told at once. outside may be nil: then this process's own
// network is used.
func Connect(ctx context.Context, kubeconfig string, outside Dialer) (*Suite, error) {
	if kubeconfig == "" {
		return nil, errors.New("no cluster to test: set KUBECONFIG, or run the suites by `plumb test`")
	}
	if _, err := os.Stat(kubeconfig); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	config.QPS = -1 // a suite waits for the cluster, not for itself
	config.UserAgent = "plumbline-e2e"
	s := &Suite{Config: config, Kubeconfig: kubeconfig, outside: outside}
	if outside == nil {
		s.outside = &net.Dialer{}
	}
	if s.Clientset, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if s.Dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	deadline, cancel := context.WithTimeout(ctx, expect.Scaled(10*time.Second))
	defer cancel()
	if err := s.Clientset.Discovery().RESTClient().Get().AbsPath("/version").Do(deadline).Error(); err != nil {
		return nil, fmt.Errorf("the cluster at %s does not answer: %w", config.Host, err)
	}
	if s.Client, err = expect.NewClient(config, nil); err != nil {
		return nil, err
	}
	s.Watch = expect.NewWatcher(s.Client)
	return s, nil
}

// Settled waits until nodes that are ready count as such: a controller takes the taint away that kept pods off them,
// and until then there would seem to be fewer nodes.
func (s *Suite) Settled(ctx context.Context) error {
	return s.Watch.UntilList(ctx, &corev1.NodeList{}, expect.Satisfy("be open to pods if they are ready", func(list *corev1.NodeList) string {
		for i := range list.Items {
			node := &list.Items[i]
			ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
			tainted := slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
			if ready && tainted {
				return node.Name + " is ready, and tainted as if it were not"
			}
		}
		return ""
	}))
}

// Namespace makes a namespace for the running spec and deletes it afterwards. It waits
// for the namespace's default service account, without which no pod can be made.
func (s *Suite) Namespace(ctx context.Context) string {
	ginkgo.GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "e2e-",
		Labels:       map[string]string{"plumbline.dev/suite": "e2e"},
	}}
	gomega.Expect(s.Client.Create(ctx, namespace)).To(gomega.Succeed(), "creating the spec's namespace")
	ginkgo.DeferCleanup(func(ctx context.Context) {
		if ginkgo.CurrentSpecReport().Failed() && os.Getenv(keepVariable) != "" {
			return
		}
		err := s.Client.Delete(ctx, namespace)
		gomega.Expect(client.IgnoreNotFound(err)).To(gomega.Succeed(), "deleting the spec's namespace")
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "default"}}
	gomega.Expect(s.Watch.Until(ctx, account, expect.Satisfy("exist", func(*corev1.ServiceAccount) string { return "" }))).
		To(gomega.Succeed(), "waiting for the namespace's default service account")
	return namespace.Name
}

// keepVariable, set to anything, keeps the namespaces of failed specs.
const keepVariable = "PLUMB_KEEP_FAILED"

// Nodes are the names of the nodes that take ordinary pods, at least n; a spec that needs
// more than there are is skipped.
func (s *Suite) Nodes(ctx context.Context, n int) []string {
	ginkgo.GinkgoHelper()
	var list corev1.NodeList
	gomega.Expect(s.Client.List(ctx, &list)).To(gomega.Succeed())
	var names []string
	for i := range list.Items {
		node := &list.Items[i]
		taken := node.Spec.Unschedulable
		for _, taint := range node.Spec.Taints {
			taken = taken || taint.Effect != corev1.TaintEffectPreferNoSchedule
		}
		if !taken {
			names = append(names, node.Name)
		}
	}
	if len(names) < n {
		ginkgo.Skip(fmt.Sprintf("needs %d nodes that take ordinary pods; the cluster has %d", n, len(names)))
	}
	return names
}

// NodeAddress is a node's InternalIP.
func (s *Suite) NodeAddress(ctx context.Context, name string) string {
	ginkgo.GinkgoHelper()
	var node corev1.Node
	gomega.Expect(s.Client.Get(ctx, client.ObjectKey{Name: name}, &node)).To(gomega.Succeed())
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	ginkgo.Fail("node " + name + " has no address of type InternalIP")
	return ""
}
