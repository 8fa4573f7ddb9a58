package api

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func limitSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.quota.exceeded",
		Promise: "What would exceed a namespace's quota is refused with what is requested, used and allowed.",
		Source:  policies + "resource-quotas/", Judges: []string{"kube-apiserver", "kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "small"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}},
		}
		s.Create(ctx, quota)
		used := func(want string) {
			gomega.Expect(s.Watch.Until(ctx, quota, expect.Satisfy("have used "+want, func(q *corev1.ResourceQuota) string {
				if amount, known := q.Status.Used[corev1.ResourcePods]; !known || amount.String() != want {
					return amount.String()
				}
				return ""
			}))).To(gomega.Succeed())
		}
		used("0")
		first := idle(namespace, "first")
		s.Create(ctx, first)
		err := s.Client.Create(ctx, idle(namespace, "second"))
		gomega.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1")))
		s.Delete(ctx, first, metav1.DeletePropagationBackground)
		used("0")
		s.Create(ctx, idle(namespace, "second"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.limit-range",
		Promise: "A LimitRange gives containers the requests and limits they lack, and refuses those outside its bounds.",
		Source:  policies + "limit-range/", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		s.Create(ctx, &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bounds"},
			Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
				Type: corev1.LimitTypeContainer, DefaultRequest: amounts("50m", "16Mi"), Default: amounts("100m", "32Mi"), Max: amounts("1", "64Mi"),
			}}},
		})
		large := idle(namespace, "large")
		large.Spec.Containers[0].Resources.Limits = amounts("2", "32Mi")
		// Admission learns of the LimitRange by a watch of its own.
		gomega.Eventually(ctx, func() error { return s.Client.Create(ctx, large.DeepCopy(), client.DryRunAll) }).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.MatchError(gomega.ContainSubstring("maximum cpu usage per Container is 1, but limit is 2")))
		pod := idle(namespace, "plain")
		s.Create(ctx, pod)
		got := pod.Spec.Containers[0].Resources
		gomega.Expect(got.Requests.Cpu().String()).To(gomega.Equal("50m"))
		gomega.Expect(got.Limits.Memory().String()).To(gomega.Equal("32Mi"))
	})
}
