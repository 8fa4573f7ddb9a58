package api

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

const (
	mergePatch  = types.MergePatchType
	serverApply = "https://kubernetes.io/docs/reference/using-api/server-side-apply/"
)

func writeSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.dry-run",
		Promise: "A dry run is validated, defaulted and admitted like the real request, and leaves nothing.",
		Source:  concepts + "#dry-run", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		pod := idle(namespace, "ghost")
		gomega.Expect(s.Client.Create(ctx, pod, client.DryRunAll)).To(gomega.Succeed())
		gomega.Expect(pod.UID).NotTo(gomega.BeEmpty())
		gomega.Expect(pod.Spec.ServiceAccountName).To(gomega.Equal("default"))
		gomega.Expect(apierrors.IsNotFound(s.Client.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{}))).To(gomega.BeTrue())
		kept := configMap(namespace, "kept", map[string]string{"a": "1"})
		s.Create(ctx, kept)
		changed := kept.DeepCopy()
		changed.Data["a"] = "2"
		gomega.Expect(s.Client.Update(ctx, changed, client.DryRunAll)).To(gomega.Succeed())
		gomega.Expect(changed.Data).To(gomega.HaveKeyWithValue("a", "2"))
		gomega.Expect(s.Client.Delete(ctx, kept.DeepCopy(), client.DryRunAll)).To(gomega.Succeed())
		version := kept.ResourceVersion
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(kept), kept)).To(gomega.Succeed())
		gomega.Expect(kept.ResourceVersion).To(gomega.Equal(version))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.conflict",
		Promise: "An update of an object that has changed since it was read is refused as a conflict.",
		Source:  concepts + "#resource-versions", Judges: judged(),
	}, func(ctx context.Context) {
		object := configMap(s.Namespace(ctx), "shared", nil)
		s.Create(ctx, object)
		stale := object.DeepCopy()
		object.Data = map[string]string{"by": "first"}
		gomega.Expect(s.Client.Update(ctx, object)).To(gomega.Succeed())
		stale.Data = map[string]string{"by": "second"}
		err := s.Client.Update(ctx, stale)
		gomega.Expect(apierrors.IsConflict(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("the object has been modified; please apply your changes to the latest version and try again")))
		wrong := client.Preconditions{UID: new(types.UID)}
		gomega.Expect(apierrors.IsConflict(s.Client.Delete(ctx, object, wrong))).To(gomega.BeTrue(), "another object than the one to be deleted")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.generate-name",
		Promise: "An object with generateName gets a name of its own that begins with it.",
		Source:  concepts + "#generated-values", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		names := map[string]bool{}
		for range 5 {
			object := configMap(namespace, "", nil)
			object.GenerateName = "made-"
			s.Create(ctx, object)
			gomega.Expect(object.Name).To(gomega.MatchRegexp(`^made-[a-z0-9]{5}$`))
			names[object.Name] = true
		}
		gomega.Expect(names).To(gomega.HaveLen(5))
	})
}

func applySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.apply.ownership",
		Promise: "Server-side apply keeps who set which field: it removes what its owner no longer sets, and refuses what another set unless forced.",
		Source:  serverApply, Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		apply := func(manager string, force bool, data map[string]string) (*corev1.ConfigMap, error) {
			return s.Clientset.CoreV1().ConfigMaps(namespace).Apply(ctx, corev1apply.ConfigMap("shared", namespace).WithData(data),
				metav1.ApplyOptions{FieldManager: manager, Force: force})
		}
		must := func(object *corev1.ConfigMap, err error) *corev1.ConfigMap {
			ginkgo.GinkgoHelper()
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			return object
		}
		must(apply("one", false, map[string]string{"a": "1", "b": "1"}))
		both := must(apply("two", false, map[string]string{"c": "2"}))
		gomega.Expect(both.Data).To(gomega.Equal(map[string]string{"a": "1", "b": "1", "c": "2"}))
		gomega.Expect(both.ManagedFields).To(gomega.ConsistOf(
			gomega.And(gomega.HaveField("Manager", "one"), gomega.HaveField("Operation", metav1.ManagedFieldsOperationApply)),
			gomega.And(gomega.HaveField("Manager", "two"), gomega.HaveField("Operation", metav1.ManagedFieldsOperationApply))))
		_, err := apply("two", false, map[string]string{"a": "2", "c": "2"})
		gomega.Expect(apierrors.IsConflict(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(err).To(gomega.MatchError(gomega.And(gomega.ContainSubstring(`conflict with "one"`), gomega.ContainSubstring(".data.a"))))
		forced := must(apply("two", true, map[string]string{"a": "2", "c": "2"}))
		gomega.Expect(forced.Data).To(gomega.HaveKeyWithValue("a", "2"))
		left := must(apply("one", false, map[string]string{}))
		gomega.Expect(left.Data).To(gomega.Equal(map[string]string{"a": "2", "c": "2"}), "b had no other owner, a was taken over")
	})
}
