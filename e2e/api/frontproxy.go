package api

import (
	"context"
	"io"
	"net/http"
	"os"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/machine"
)

// whoami asks the API server who the bearer of a configuration is.
func whoami(ctx context.Context, config *rest.Config) (authenticationv1.UserInfo, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

// headers adds to every request of a configuration.
func headers(config *rest.Config, header http.Header) *rest.Config {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			for name, values := range header {
				r.Header[name] = values
			}
			return next.RoundTrip(r)
		})
	})
	return config
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func frontProxySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.front-proxy",
		Promise: "Headers that name a user are believed of a client that shows the front proxy's certificate, and of nobody else.",
		Source:  "https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy", Judges: judged(),
	}, func(ctx context.Context) {
		pair := controlPlaneFiles(ctx, s, "/etc/kubernetes/pki/front-proxy-client.crt", "/etc/kubernetes/pki/front-proxy-client.key")
		named := http.Header{
			"X-Remote-User":        {"alice"},
			"X-Remote-Group":       {"readers", "writers"},
			"X-Remote-Extra-Scope": {"narrow"},
		}
		config := rest.AnonymousClientConfig(s.Config)
		config.CertData, config.KeyData = pair[0], pair[1]
		who, err := whoami(ctx, headers(config, named))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(who.Username).To(gomega.Equal("alice"))
		gomega.Expect(who.Groups).To(gomega.ConsistOf("readers", "writers", "system:authenticated"))
		gomega.Expect(who.Extra).To(gomega.HaveKeyWithValue("scope", authenticationv1.ExtraValue{"narrow"}))

		who, err = whoami(ctx, headers(rest.CopyConfig(s.Config), named))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(who.Username).NotTo(gomega.Equal("alice"), "an administrator is no front proxy")
		_, err = whoami(ctx, headers(rest.AnonymousClientConfig(s.Config), named))
		gomega.Expect(err).To(beForbidden("system:anonymous"))
	})
}

// controlPlaneFiles reads files of the control plane's machine.
func controlPlaneFiles(ctx context.Context, s *suite.Suite, paths ...string) [][]byte {
	ginkgo.GinkgoHelper()
	machines := s.OwnMachines()
	var contents [][]byte
	for _, path := range paths {
		read, write, err := os.Pipe()
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		exit, err := machines.Exec(ctx, v1alpha1.ControlPlaneName, machine.Command{Args: []string{"cat", path}, Stdout: write})
		gomega.Expect(write.Close()).To(gomega.Succeed())
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		content, err := io.ReadAll(read)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(read.Close()).To(gomega.Succeed())
		gomega.Expect(exit.Code).To(gomega.BeZero(), "reading %s", path)
		contents = append(contents, content)
	}
	return contents
}
