package node

import (
	"context"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// reads waits until a file in a pod has a text: a node brings volumes up to date in its
// own time, and nothing in the API says when it has.
func reads(ctx context.Context, s *suite.Suite, pod *corev1.Pod, path, text string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func() (string, error) { return s.Exec(ctx, pod, "/agent", "cat", path) }).
		WithTimeout(expect.Scaled(expect.Long)).Should(gomega.Equal(text), path)
}

func sourceSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.live-update",
		Promise: "Files of ConfigMap, Secret and downward API volumes follow their sources while the pod runs.",
		Source:  tasks + "configure-pod-container/configure-pod-configmap/#mounted-configmaps-are-updated-automatically", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		settings, secrets := configMap(namespace, map[string]string{"color": "blue"}), secret(namespace, map[string]string{"password": "one"})
		s.Create(ctx, settings, secrets)
		pod := suite.Pod(namespace, "web", suite.AgentContainer("pause"))
		mount(pod, "settings", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}})
		mount(pod, "secrets", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "secrets"}})
		mount(pod, "self", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "app", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}},
		}}})
		s.CreateReady(ctx, pod)
		for path, text := range map[string]string{"/settings/color": "blue", "/secrets/password": "one", "/self/app": "web"} {
			gomega.Expect(s.Exec(ctx, pod, "/agent", "cat", path)).To(gomega.Equal(text), path)
		}
		suite.Patch(ctx, s, settings, func(m *corev1.ConfigMap) { m.Data["color"] = "red" })
		suite.Patch(ctx, s, secrets, func(m *corev1.Secret) { m.Data["password"] = []byte("two") })
		suite.Patch(ctx, s, pod, func(p *corev1.Pod) { p.Labels["app"] = "shop" })
		reads(ctx, s, pod, "/settings/color", "red")
		reads(ctx, s, pod, "/secrets/password", "two")
		reads(ctx, s, pod, "/self/app", "shop")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.items",
		Promise: "A volume of chosen keys has only those, at the paths and with the modes that were asked for.",
		Source:  tasks + "configure-pod-container/configure-pod-configmap/#add-configmap-data-to-a-specific-path-in-the-volume", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		s.Create(ctx, configMap(namespace, map[string]string{"color": "blue", "size": "large"}), secret(namespace, map[string]string{"password": "one"}))
		pod := task(namespace, shell("main", "cd /all; find . -follow -type f ! -path '*/..*' | sort; stat -L -c %a a/color; stat -L -c %a password; cat a/color password"))
		mount(pod, "all", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: ptr.To[int32](0o440), Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Items: []corev1.KeyToPath{{Key: "color", Path: "a/color", Mode: ptr.To[int32](0o400)}},
			}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "secrets"}}},
		}}})
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"./a/color", "./password", "400", "440", "blueone"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.token",
		Promise: "Every pod has a token that authenticates it as its service account, and says which pod it is.",
		Source:  "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens", Judges: []string{"kubelet", "kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "robot"}}
		s.Create(ctx, account)
		pod := suite.Pod(namespace, "web", suite.AgentContainer("pause"))
		pod.Spec.ServiceAccountName = account.Name
		s.CreateReady(ctx, pod)
		const folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
		gomega.Expect(s.Exec(ctx, pod, "/agent", "cat", folder+"namespace")).To(gomega.Equal(namespace))
		gomega.Expect(s.Exec(ctx, pod, "/agent", "cat", folder+"ca.crt")).To(gomega.ContainSubstring("BEGIN CERTIFICATE"))
		token, err := s.Exec(ctx, pod, "/agent", "cat", folder+"token")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		config := rest.AnonymousClientConfig(s.Config)
		config.BearerToken = strings.TrimSpace(token)
		robot, err := kubernetes.NewForConfig(config)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		review, err := robot.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		who := review.Status.UserInfo
		gomega.Expect(who.Username).To(gomega.Equal("system:serviceaccount:" + namespace + ":robot"))
		gomega.Expect(who.Groups).To(gomega.ContainElements("system:serviceaccounts", "system:serviceaccounts:"+namespace, "system:authenticated"))
		gomega.Expect(who.Extra).To(gomega.HaveKeyWithValue("authentication.kubernetes.io/pod-uid", authenticationv1.ExtraValue{string(pod.UID)}))
	})
}
