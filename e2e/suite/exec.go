package suite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec runs a command in a pod's first container and returns what it printed. An error
// holds what it printed on standard error.
func (s *Suite) Exec(ctx context.Context, pod *corev1.Pod, command ...string) (string, error) {
	request := s.Clientset.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: pod.Spec.Containers[0].Name, Command: command, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(s.Config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return stdout.String(), fmt.Errorf("%s in %s/%s: %w: %s", strings.Join(command, " "), pod.Namespace, pod.Name, err, stderr.String())
	}
	return stdout.String(), nil
}

// Logs are all that a pod's first container has printed.
func (s *Suite) Logs(ctx context.Context, pod *corev1.Pod) string {
	ginkgo.GinkgoHelper()
	text, err := s.Clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: pod.Spec.Containers[0].Name}).DoRaw(ctx)
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "logs of %s", pod.Name)
	return string(text)
}

// kubectlVariable names the kubectl that specs run; without it the one beside this
// program, else the one in PATH.
const kubectlVariable = "PLUMB_KUBECTL"

func kubectlProgram() string {
	if named := os.Getenv(kubectlVariable); named != "" {
		return named
	}
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), "kubectl"); isFile(beside) {
			return beside
		}
	}
	return "kubectl"
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// KubectlCommand is kubectl with the cluster's kubeconfig, ready to start. It has no
// place to cache what is served: specs side by side change that.
func (s *Suite) KubectlCommand(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, kubectlProgram(), arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig, "KUBECACHEDIR="+os.DevNull)
	return command
}

// TryKubectl runs kubectl and returns what it printed on both outputs.
func (s *Suite) TryKubectl(ctx context.Context, arguments ...string) (stdout, stderr string, err error) {
	var out, errors bytes.Buffer
	command := s.KubectlCommand(ctx, arguments...)
	command.Stdout, command.Stderr = &out, &errors
	err = command.Run()
	return out.String(), errors.String(), err
}

// Kubectl runs kubectl, which must succeed, and returns what it printed.
func (s *Suite) Kubectl(ctx context.Context, arguments ...string) string {
	ginkgo.GinkgoHelper()
	stdout, stderr, err := s.TryKubectl(ctx, arguments...)
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "kubectl %s: %s", strings.Join(arguments, " "), stderr)
	return stdout
}
