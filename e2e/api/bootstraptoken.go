package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/own"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
)

const bootstrapTokens = admission + "bootstrap-tokens/"

// bootstrapToken is a token that vouches for a node for an hour, unless changed.
func bootstrapToken(change map[string]string) (secret *corev1.Secret, token string) {
	id, proof := rand.String(6), rand.String(16)
	data := map[string]string{
		"token-id": id, "token-secret": proof, "usage-bootstrap-authentication": "true",
		"auth-extra-groups": "system:bootstrappers:plumbline", "expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	}
	for key, value := range change {
		data[key] = value
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id},
		Type:       corev1.SecretTypeBootstrapToken, StringData: data,
	}, id + "." + proof
}

func bootstrapTokenSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.bootstrap-token",
		Promise: "A bootstrap token makes its bearer a bootstrapper of its groups, while its secret is there, in time and meant for that.",
		Source:  bootstrapTokens, Judges: judged(),
	}, func(ctx context.Context) {
		bearing := func(change map[string]string) (*corev1.Secret, *rest.Config) {
			ginkgo.GinkgoHelper()
			secret, token := bootstrapToken(change)
			s.Create(ctx, secret)
			ginkgo.DeferCleanup(func(ctx context.Context) {
				_ = s.Client.Delete(ctx, secret) // it may be gone
			})
			config := rest.AnonymousClientConfig(s.Config)
			config.BearerToken = token
			return secret, config
		}
		secret, config := bearing(nil)
		who, err := whoami(ctx, config)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(who.Username).To(gomega.Equal("system:bootstrap:" + strings.TrimPrefix(secret.Name, "bootstrap-token-")))
		gomega.Expect(who.Groups).To(gomega.ConsistOf("system:bootstrappers", "system:bootstrappers:plumbline", "system:authenticated"))

		for what, change := range map[string]map[string]string{
			"an expired one":              {"expiration": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)},
			"one that is for signing":     {"usage-bootstrap-authentication": "false", "usage-bootstrap-signing": "true"},
			"one that claims too much":    {"auth-extra-groups": "system:masters"},
			"one that was written anew":   {"token-secret": "0000000000000000"},
			"one that is another's in it": {"token-id": "zzzzzz"},
		} {
			_, config := bearing(change)
			_, err := whoami(ctx, config)
			gomega.Expect(err).To(gomega.Satisfy(apierrors.IsUnauthorized), "%s: %v", what, err)
		}
		s.Delete(ctx, secret, metav1.DeletePropagationBackground)
		// What was found good is remembered for some seconds.
		gomega.Eventually(ctx, func() error { _, err := whoami(ctx, config); return err }).
			WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Satisfy(apierrors.IsUnauthorized))
	})
}

func bootstrapControllerSpecs(under *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.bootstrap-token.signed",
		Promise: "Where the token controllers are on, cluster-info carries a signature by each token that may sign, and expired tokens are deleted.",
		Source:  bootstrapTokens + "#configmap-signing", Judges: []string{"kube-controller-manager", "kube-apiserver"},
	}, ginkgo.Serial, ginkgo.Label(own.Label), func(ctx context.Context) {
		description := own.Describe("bootstrap", 0)
		description.Spec.Components = map[string]v1alpha1.Component{cluster.ControllerManager: {Args: []string{"--controllers=*,tokencleaner,bootstrapsigner"}}}
		s, _ := own.Boot(ctx, under, description)

		signing, token := bootstrapToken(map[string]string{"usage-bootstrap-signing": "true"})
		other, _ := bootstrapToken(nil)
		info := configMap(metav1.NamespacePublic, "cluster-info", map[string]string{"kubeconfig": "apiVersion: v1\nkind: Config\n"})
		s.Create(ctx, info, signing, other)
		id, _, _ := strings.Cut(token, ".")
		signed := expect.Satisfy("be signed by the one token", func(info *corev1.ConfigMap) string {
			if len(info.Data) != 2 || strings.Count(info.Data["jws-kubeconfig-"+id], "..") != 1 {
				return fmt.Sprintf("it holds %v", info.Data)
			}
			return ""
		})
		gomega.Expect(s.Watch.Until(ctx, info, signed)).To(gomega.Succeed())
		before := info.Data["jws-kubeconfig-"+id]
		suite.Patch(ctx, s, info, func(info *corev1.ConfigMap) {
			info.Data["kubeconfig"] = "apiVersion: v1\nkind: Config\npreferences: {}\n"
		})
		gomega.Expect(s.Watch.Until(ctx, info, gomega.And(signed, expect.Satisfy("have another signature", func(info *corev1.ConfigMap) string {
			if info.Data["jws-kubeconfig-"+id] == before {
				return "it is the one of the old content"
			}
			return ""
		})))).To(gomega.Succeed())

		ending, _ := bootstrapToken(map[string]string{"expiration": time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)})
		s.Create(ctx, ending)
		gomega.Expect(s.Watch.Gone(ctx, ending)).To(gomega.Succeed())
		gomega.Expect(s.Client.Delete(ctx, other)).To(gomega.Succeed(), "a token in time is kept")
	})
}
