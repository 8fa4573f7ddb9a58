package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// Tally is what the agent's hammer counted.
type Tally struct {
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Errors   map[string]int `json:"errors"`
	// Hosts counts answers by the pod that gave them.
	Hosts map[string]int `json:"hosts"`
}

// Hammer requests a URL count times from inside a pod.
func (s *Suite) Hammer(ctx context.Context, from *corev1.Pod, count int, url string) Tally {
	ginkgo.GinkgoHelper()
	output, err := s.Exec(ctx, from, "/agent", "hammer", "--count", fmt.Sprint(count), "--every", "0s", url)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	var tally Tally
	gomega.Expect(json.Unmarshal([]byte(output), &tally)).To(gomega.Succeed(), output)
	return tally
}

// Attempt is how one of the agent's connections went.
type Attempt struct {
	Reply string `json:"reply"`
	// Error is "refused", "timeout", "reset", "unreachable", "no such host" or a text.
	Error string `json:"error"`
	Took  string `json:"took"`
}

// Connect connects once from inside a pod, to "tcp://…", "udp://…" or "http://…". More
// of the agent's flags may precede.
func (s *Suite) Connect(ctx context.Context, from *corev1.Pod, url string, flags ...string) Attempt {
	ginkgo.GinkgoHelper()
	// The command fails where the connection does; what it prints tells of both.
	output, err := s.Exec(ctx, from, slices.Concat([]string{"/agent", "connect"}, flags, []string{url})...)
	var attempt Attempt
	gomega.Expect(json.Unmarshal([]byte(output), &attempt)).To(gomega.Succeed(), "%s: %v", output, err)
	return attempt
}

// URL is http://host:port/path, with brackets where the host is an IPv6 address.
func URL(host string, port int32, path string) string {
	return "http://" + net.JoinHostPort(host, fmt.Sprint(port)) + path
}
