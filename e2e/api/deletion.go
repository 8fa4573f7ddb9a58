package api

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func deletionSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.finalizers",
		Promise: "A deleted object with finalizers stays, marked, until the last of them is removed; none can be added then.",
		Source:  objects + "finalizers/", Judges: judged(),
	}, func(ctx context.Context) {
		object := configMap(s.Namespace(ctx), "held", nil)
		object.Finalizers = []string{"plumbline.dev/one", "plumbline.dev/two"}
		s.Create(ctx, object)
		s.Delete(ctx, object, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, object, expect.BeTerminating())).To(gomega.Succeed())
		more := object.DeepCopy()
		more.Finalizers = append(more.Finalizers, "plumbline.dev/three")
		err := s.Client.Update(ctx, more)
		gomega.Expect(apierrors.IsInvalid(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("no new finalizers can be added if the object is being deleted")))
		suite.Patch(ctx, s, object, func(m *corev1.ConfigMap) { m.Finalizers = []string{"plumbline.dev/two"} })
		gomega.Expect(s.Watch.Until(ctx, object, expect.BeTerminating())).To(gomega.Succeed())
		suite.Patch(ctx, s, object, func(m *corev1.ConfigMap) { m.Finalizers = nil })
		gomega.Expect(s.Watch.Gone(ctx, object)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.namespace.terminating",
		Promise: "Nothing can be made in a namespace that is being deleted.",
		Source:  "https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#namespacelifecycle", Judges: []string{"kube-apiserver", "kube-controller-manager"},
	}, func(ctx context.Context) {
		name := s.Namespace(ctx)
		held := configMap(name, "held", nil)
		held.Finalizers = []string{"plumbline.dev/hold"}
		s.Create(ctx, held)
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		s.Delete(ctx, namespace, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, namespace, expect.BeTerminating())).To(gomega.Succeed())
		err := s.Client.Create(ctx, idle(name, "late"))
		gomega.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("because it is being terminated")))
		gomega.Expect(apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)).To(gomega.BeTrue())
		suite.Patch(ctx, s, held, func(m *corev1.ConfigMap) { m.Finalizers = nil })
		gomega.Expect(s.Watch.Within(expect.Long).Gone(ctx, namespace)).To(gomega.Succeed())
	})
}
