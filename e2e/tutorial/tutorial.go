// Package tutorial holds the specs of the front door: the manifests and commands that
// Kubernetes tutorials open with, by an unmodified kubectl and a real nginx.
package tutorial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/fixtures/manifests"
	"github.com/plumbline/plumbline/framework/expect"
)

const (
	connecting  = "https://kubernetes.io/docs/tutorials/services/connect-applications-service/"
	deployments = "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/"
)

// all are the components that every step needs.
func all() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"}
}

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("tutorial", func() {
		deploymentSpec(s)
		serviceSpec(s)
		commandSpecs(s)
	})
}

// desk is a namespace with manifests to apply.
type desk struct {
	*suite.Suite
	namespace string
}

func newDesk(ctx context.Context, s *suite.Suite) desk {
	ginkgo.GinkgoHelper()
	return desk{s, s.Namespace(ctx)}
}

func (d desk) kubectl(ctx context.Context, arguments ...string) string {
	ginkgo.GinkgoHelper()
	return d.Kubectl(ctx, append([]string{"-n", d.namespace}, arguments...)...)
}

func (d desk) file(name string, content []byte) string {
	ginkgo.GinkgoHelper()
	path := filepath.Join(ginkgo.GinkgoT().TempDir(), name)
	gomega.Expect(os.WriteFile(path, content, 0o600)).To(gomega.Succeed())
	return path
}

// rows are a table's lines below its head, each split at white space.
func rows(table string) [][]string {
	var all [][]string
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if i > 0 {
			all = append(all, strings.Fields(line))
		}
	}
	return all
}

func deploymentSpec(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "tutorial.nginx-deployment",
		Promise: "The documentation's nginx Deployment is applied, listed, described, scaled, updated, undone and deleted as the documentation shows.",
		Source:  deployments + "#creating-a-deployment", Judges: all(),
	}, func(ctx context.Context) {
		d := newDesk(ctx, s)
		manifest := d.file("nginx-deployment.yaml", manifests.NginxDeployment())
		gomega.Expect(d.kubectl(ctx, "apply", "-f", manifest)).To(gomega.Equal("deployment.apps/nginx-deployment created\n"))
		gomega.Expect(d.kubectl(ctx, "rollout", "status", "deployment/nginx-deployment", "--timeout=60s")).
			To(gomega.HaveSuffix("deployment \"nginx-deployment\" successfully rolled out\n"))

		ginkgo.By("listing")
		table := d.kubectl(ctx, "get", "deployments", "-o", "wide")
		gomega.Expect(strings.Fields(strings.SplitN(table, "\n", 2)[0])).To(gomega.HaveExactElements("NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"))
		row := rows(table)[0]
		gomega.Expect(append(row[:4], row[5:]...)).To(gomega.HaveExactElements("nginx-deployment", "3/3", "3", "3", "nginx", "nginx:1.14.2", "app=nginx"))
		pods := rows(d.kubectl(ctx, "get", "pods", "-o", "wide", "--show-labels"))
		gomega.Expect(pods).To(gomega.HaveLen(3))
		for _, pod := range pods {
			gomega.Expect(pod[0]).To(gomega.MatchRegexp(`^nginx-deployment-[a-z0-9]{6,10}-[a-z0-9]{5}$`))
			gomega.Expect(pod[1:4]).To(gomega.HaveExactElements("1/1", "Running", "0"))
		}
		sets := rows(d.kubectl(ctx, "get", "rs"))
		gomega.Expect(sets).To(gomega.HaveLen(1))
		gomega.Expect(sets[0][1:4]).To(gomega.HaveExactElements("3", "3", "3"))

		ginkgo.By("describing")
		description := d.kubectl(ctx, "describe", "deployment", "nginx-deployment")
		for _, want := range []string{"3 desired | 3 updated | 3 total | 3 available | 0 unavailable", "RollingUpdateStrategy:  25% max unavailable, 25% max surge", "ScalingReplicaSet", "Scaled up replica set nginx-deployment-"} {
			gomega.Expect(description).To(gomega.ContainSubstring(want))
		}
		gomega.Expect(d.kubectl(ctx, "describe", "pod", pods[0][0])).To(gomega.And(
			gomega.ContainSubstring("Scheduled"), gomega.ContainSubstring("Started"), gomega.ContainSubstring("nginx:1.14.2")))

		ginkgo.By("scaling")
		gomega.Expect(d.kubectl(ctx, "scale", "deployment/nginx-deployment", "--replicas=5")).To(gomega.Equal("deployment.apps/nginx-deployment scaled\n"))
		d.kubectl(ctx, "rollout", "status", "deployment/nginx-deployment", "--timeout=60s")
		gomega.Expect(rows(d.kubectl(ctx, "get", "pods"))).To(gomega.HaveLen(5))

		ginkgo.By("updating and undoing")
		d.kubectl(ctx, "set", "image", "deployment/nginx-deployment", "nginx=nginx:1.16.1")
		d.kubectl(ctx, "rollout", "status", "deployment/nginx-deployment", "--timeout=60s")
		gomega.Expect(rows(d.kubectl(ctx, "rollout", "history", "deployment/nginx-deployment"))).To(gomega.HaveLen(3), "a title and two revisions")
		gomega.Expect(d.kubectl(ctx, "rollout", "undo", "deployment/nginx-deployment")).To(gomega.Equal("deployment.apps/nginx-deployment rolled back\n"))
		d.kubectl(ctx, "rollout", "status", "deployment/nginx-deployment", "--timeout=60s")
		gomega.Expect(d.kubectl(ctx, "get", "deployment", "nginx-deployment", "-o", "jsonpath={.spec.template.spec.containers[0].image}")).To(gomega.Equal("nginx:1.14.2"))

		ginkgo.By("deleting")
		gomega.Expect(d.kubectl(ctx, "delete", "-f", manifest)).To(gomega.HavePrefix("deployment.apps \"nginx-deployment\" deleted"))
		for _, list := range []client.ObjectList{&appsv1.ReplicaSetList{}, &corev1.PodList{}} {
			gomega.Expect(d.Watch.UntilList(ctx, list, expect.EachItem(0, expect.BeReady()), client.InNamespace(d.namespace))).To(gomega.Succeed())
		}
	})
}

func serviceSpec(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "tutorial.nginx-service",
		Promise: "A nginx behind a NodePort Service answers at its Service's name, its cluster IP and every node's port, and its log follows.",
		Source:  connecting, Judges: append(all(), "kube-proxy"),
	}, func(ctx context.Context) {
		outside, d := s.FromOutside(ctx), newDesk(ctx, s)
		manifest := d.file("nginx-svc.yaml", manifests.NginxService())
		d.kubectl(ctx, "create", "-f", manifest)
		d.kubectl(ctx, "rollout", "status", "deployment/nginx", "--timeout=60s")
		var service corev1.Service
		gomega.Expect(d.Client.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: "nginx-svc"}, &service)).To(gomega.Succeed())
		row := rows(d.kubectl(ctx, "get", "service", "nginx-svc"))[0]
		gomega.Expect(row[:5]).To(gomega.HaveExactElements("nginx-svc", "NodePort", service.Spec.ClusterIP, "<none>", fmt.Sprintf("8080:%d/TCP", service.Spec.Ports[0].NodePort)))

		ginkgo.By("following its log")
		var log bytes.Buffer
		follow := gbytes.NewBuffer()
		command := d.KubectlCommand(ctx, "-n", d.namespace, "logs", "-f", "deployment/nginx")
		command.Stdout, command.Stderr = follow, &log
		gomega.Expect(command.Start()).To(gomega.Succeed())
		ginkgo.DeferCleanup(func() {
			_ = command.Process.Kill()
			_ = command.Wait()
		})

		ginkgo.By("asking it from outside, at every node")
		for _, node := range d.Nodes(ctx, 1) {
			gomega.Eventually(ctx, func() (string, error) {
				return outside.Get(ctx, suite.URL(d.NodeAddress(ctx, node), service.Spec.Ports[0].NodePort, "/"))
			}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.ContainSubstring("Welcome to nginx!")) // the node's rules follow the endpoints
		}
		gomega.Eventually(ctx, follow).WithTimeout(expect.Scaled(expect.Short)).Should(gbytes.Say(`"GET / HTTP/1.1" 200`), "kubectl logs -f: %s", &log)

		ginkgo.By("asking it from a pod, by name")
		client := suite.Pod(d.namespace, "client", suite.AgentContainer("pause"))
		d.CreateReady(ctx, client)
		for _, host := range []string{"nginx-svc", "nginx-svc." + d.namespace + ".svc.cluster.local"} {
			gomega.Eventually(ctx, func() string { return d.Connect(ctx, client, suite.URL(host, 8080, "/")).Reply }).
				WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.ContainSubstring("Welcome to nginx!"), host) // the name server follows too
		}
		d.kubectl(ctx, "delete", "-f", manifest)
	})
}

func commandSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "tutorial.run-exec-logs",
		Promise: "kubectl run starts a pod, logs prints what it says, exec runs a command in it and passes its exit code, cp copies files.",
		Source:  "https://kubernetes.io/docs/reference/kubectl/quick-reference/#interacting-with-running-pods", Judges: []string{"kube-apiserver", "kubelet"},
	}, func(ctx context.Context) {
		d := newDesk(ctx, s)
		gomega.Expect(d.kubectl(ctx, "run", "shell", "--image=busybox:1.36", "--image-pull-policy=IfNotPresent", "--restart=Never", "--command", "--",
			"sh", "-c", "echo started; trap 'exit 0' TERM; while true; do sleep 1; done")).To(gomega.Equal("pod/shell created\n"))
		d.kubectl(ctx, "wait", "pod/shell", "--for=condition=Ready", "--timeout=60s")
		gomega.Expect(d.kubectl(ctx, "logs", "shell")).To(gomega.Equal("started\n"))
		gomega.Expect(d.kubectl(ctx, "exec", "shell", "--", "echo", "hello")).To(gomega.Equal("hello\n"))

		_, stderr, err := d.TryKubectl(ctx, "-n", d.namespace, "exec", "shell", "--", "sh", "-c", "exit 42")
		gomega.Expect(err).To(gomega.MatchError("exit status 42"))
		gomega.Expect(stderr).To(gomega.ContainSubstring("command terminated with exit code 42"))

		command := d.KubectlCommand(ctx, "-n", d.namespace, "exec", "-i", "shell", "--", "cat")
		command.Stdin = strings.NewReader("through standard input")
		output, err := command.Output()
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(string(output)).To(gomega.Equal("through standard input"))

		source := d.file("poem.txt", []byte("a line\n"))
		d.kubectl(ctx, "cp", source, "shell:/tmp/poem.txt")
		gomega.Expect(d.kubectl(ctx, "exec", "shell", "--", "cat", "/tmp/poem.txt")).To(gomega.Equal("a line\n"))
		d.kubectl(ctx, "delete", "pod", "shell", "--grace-period=1")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "tutorial.port-forward",
		Promise: "kubectl port-forward carries a local port to a pod's port.",
		Source:  "https://kubernetes.io/docs/tasks/access-application-cluster/port-forward-access-application-cluster/", Judges: []string{"kube-apiserver", "kubelet"},
	}, func(ctx context.Context) {
		d := newDesk(ctx, s)
		pod := suite.Pod(d.namespace, "web", suite.ServingContainer())
		d.CreateReady(ctx, pod)
		command := d.KubectlCommand(ctx, "-n", d.namespace, "port-forward", "--address=127.0.0.1", "pod/web", ":8080")
		output := gbytes.NewBuffer()
		command.Stdout, command.Stderr = output, output
		gomega.Expect(command.Start()).To(gomega.Succeed())
		ginkgo.DeferCleanup(func() {
			_ = command.Process.Kill()
			_ = command.Wait()
		})
		gomega.Eventually(ctx, output).WithTimeout(expect.Scaled(expect.Short)).Should(gbytes.Say(`Forwarding from 127\.0\.0\.1:(\d+)`)) // kubectl says when it listens
		address := strings.Fields(strings.SplitN(string(output.Contents()), "Forwarding from ", 2)[1])[0]
		gomega.Expect(getHere(ctx, "http://"+address+"/hostname")).To(gomega.Equal("web"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "tutorial.explain",
		Promise: "kubectl explain tells of every field of a resource.",
		Source:  "https://kubernetes.io/docs/reference/kubectl/generated/kubectl_explain/", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		gomega.Expect(s.Kubectl(ctx, "explain", "deployment.spec.strategy.rollingUpdate.maxSurge")).To(gomega.And(
			gomega.ContainSubstring("KIND:       Deployment"), gomega.ContainSubstring("FIELD: maxSurge <IntOrString>"), gomega.ContainSubstring("maximum number of pods")))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "tutorial.auth-can-i",
		Promise: "kubectl auth can-i answers for oneself and, impersonating, for others.",
		Source:  "https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		d := newDesk(ctx, s)
		gomega.Expect(d.kubectl(ctx, "auth", "can-i", "create", "deployments")).To(gomega.Equal("yes\n"))
		stdout, _, err := d.TryKubectl(ctx, "-n", d.namespace, "auth", "can-i", "list", "secrets", "--as=system:serviceaccount:"+d.namespace+":default")
		gomega.Expect(err).To(gomega.HaveOccurred())
		gomega.Expect(stdout).To(gomega.Equal("no\n"))
		d.kubectl(ctx, "create", "rolebinding", "viewer", "--clusterrole=view", "--serviceaccount="+d.namespace+":default")
		gomega.Eventually(ctx, func() string {
			stdout, _, _ := d.TryKubectl(ctx, "-n", d.namespace, "auth", "can-i", "list", "pods", "--as=system:serviceaccount:"+d.namespace+":default")
			return stdout
		}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal("yes\n")) // the authoriser follows by a watch
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "tutorial.server-side-apply",
		Promise: "Server-side apply merges what several managers own, and refuses a change of another manager's field unless it is forced.",
		Source:  "https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		d := newDesk(ctx, s)
		config := func(value string) string {
			data, err := json.Marshal(corev1.ConfigMap{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"key": value},
			})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			return d.file(value+".json", data)
		}
		d.kubectl(ctx, "apply", "--server-side", "--field-manager=one", "-f", config("first"))
		_, stderr, err := d.TryKubectl(ctx, "-n", d.namespace, "apply", "--server-side", "--field-manager=two", "-f", config("second"))
		gomega.Expect(err).To(gomega.HaveOccurred())
		gomega.Expect(stderr).To(gomega.ContainSubstring(`conflict with "one": .data.key`))
		d.kubectl(ctx, "apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", config("second"))
		gomega.Expect(d.kubectl(ctx, "get", "configmap", "settings", "-o", "jsonpath={.data.key}")).To(gomega.Equal("second"))
	})
}
