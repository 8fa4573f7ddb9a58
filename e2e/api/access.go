package api

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func accessSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.rbac",
		Promise: "A service account may do what its roles permit, where they permit it, and nothing else.",
		Source:  admission + "rbac/", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		config := rest.CopyConfig(s.Config)
		user := "system:serviceaccount:" + namespace + ":default"
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
		robot, err := kubernetes.NewForConfig(config)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		list := func(namespace string) error {
			_, err := robot.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
			return err
		}
		err = list(namespace)
		gomega.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(err).To(gomega.MatchError(`pods is forbidden: User "` + user + `" cannot list resource "pods" in API group "" in the namespace "` + namespace + `"`))
		s.Create(ctx,
			&rbacv1.Role{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"},
				Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}}},
			},
			&rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"},
				Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: "default"}},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			})
		// The authorizer learns of roles by a watch of its own.
		gomega.Eventually(ctx, func() error { return list(namespace) }).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Succeed())
		gomega.Expect(apierrors.IsForbidden(list("kube-system"))).To(gomega.BeTrue(), "the role is of one namespace")
		err = robot.CoreV1().Pods(namespace).Delete(ctx, "any", metav1.DeleteOptions{})
		gomega.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "the role is of two verbs: %v", err)
		gomega.Expect(s.Kubectl(ctx, "auth", "can-i", "list", "pods", "-n", namespace, "--as", user)).To(gomega.Equal("yes\n"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.rbac.escalation",
		Promise: "Nobody can grant what they do not have themselves.",
		Source:  admission + "rbac/#privilege-escalation-prevention-and-bootstrapping", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		const user = "plumbline-editor"
		role := &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "granter"},
			Rules:      []rbacv1.PolicyRule{{Verbs: []string{"create"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}}},
		}
		s.Create(ctx, role, &rbacv1.RoleBinding{
			ObjectMeta: role.ObjectMeta, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		})
		config := rest.CopyConfig(s.Config)
		config.Impersonate = rest.ImpersonationConfig{UserName: user}
		editor, err := kubernetes.NewForConfig(config)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		grant := func(verb string) error {
			_, err := editor.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "granted-"},
				Rules:      []rbacv1.PolicyRule{{Verbs: []string{verb}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}}},
			}, metav1.CreateOptions{})
			return err
		}
		// The authorizer learns of roles by a watch of its own.
		gomega.Eventually(ctx, func() error { return grant("create") }).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Succeed())
		gomega.Expect(grant("delete")).To(gomega.MatchError(gomega.ContainSubstring("is attempting to grant RBAC permissions not currently held")))
	})
}

func policySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.pod-security",
		Promise: "A namespace that enforces the restricted standard refuses pods that do not keep it, and says in which ways.",
		Source:  "https://kubernetes.io/docs/concepts/security/pod-security-admission/", Judges: judged(),
	}, func(ctx context.Context) {
		name := s.Namespace(ctx)
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		suite.Patch(ctx, s, namespace, func(n *corev1.Namespace) { n.Labels["pod-security.kubernetes.io/enforce"] = "restricted" })
		privileged := idle(name, "privileged")
		privileged.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
		// Admission learns of the label by a watch of its own.
		gomega.Eventually(ctx, func() error { return s.Client.Create(ctx, privileged.DeepCopy(), client.DryRunAll) }).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.MatchError(gomega.And(
			gomega.ContainSubstring(`violates PodSecurity "restricted:latest"`),
			gomega.ContainSubstring(`privileged (container "agent" must not set securityContext.privileged=true)`),
			gomega.ContainSubstring(`runAsNonRoot != true`))))
		good := idle(name, "good")
		good.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
		s.Create(ctx, good)
	})
	validatingPolicySpecs(s)
}
