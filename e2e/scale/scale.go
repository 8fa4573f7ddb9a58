// Package scale holds the specs of many nodes and pods. The nodes are simulated, so that
// there can be many, and so that what happens on them is the specs' to say.
package scale

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/own"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/hollow"
	hollowv1alpha1 "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("scale", func() {
		fillSpecs(s)
		jobSpecs(s)
		silenceSpecs(s)
	})
}

// everybody is who a spec of the whole control plane speaks against.
func everybody() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
}

func fillSpecs(under *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "scale.no-node-is-overfilled",
		Promise: "Pods that all nodes together have just room for are all placed, and no node is given more than it has room for.",
		Source:  "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#how-pods-with-resource-requests-are-scheduled",
		Judges:  everybody(),
	}, ginkgo.Serial, ginkgo.Label(own.Label), func(ctx context.Context) {
		const nodes, each = 40, 5
		description := own.Describe("fill", 0)
		description.Spec.Hollow = hollowv1alpha1.New(nodes)
		description.Spec.Hollow.Nodes[0].Capacity = corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(each, resource.DecimalSI)}
		s, _ := own.Boot(ctx, under, description)
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", nodes*each, corev1.Container{Name: "web", Image: suite.Pause})
		s.Create(ctx, deployment)
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
		on, addresses := map[string]int{}, map[string]bool{}
		for _, pod := range s.PodsOf(ctx, namespace, "web") {
			// A node refuses what it has no room for.
			gomega.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodRunning), "%s: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message)
			on[pod.Spec.NodeName]++
			addresses[pod.Status.PodIP] = true
		}
		gomega.Expect(on).To(gomega.HaveLen(nodes))
		gomega.Expect(on).To(gomega.HaveEach(each))
		gomega.Expect(addresses).To(gomega.HaveLen(nodes*each), "each pod has an address of its own")
	})
}

func jobSpecs(under *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "scale.jobs",
		Promise: "A Job of many pods completes when so many have succeeded; one whose pods fail is given up after its back-off limit.",
		Source:  "https://kubernetes.io/docs/concepts/workloads/controllers/job/",
		Judges:  everybody(),
	}, ginkgo.Serial, ginkgo.Label(own.Label), func(ctx context.Context) {
		second := hollowv1alpha1.Span{From: 100 * time.Millisecond, To: time.Second}
		description := own.Describe("jobs", 0)
		description.Spec.Hollow = hollowv1alpha1.New(10)
		description.Spec.Hollow.Pods = []hollowv1alpha1.Rule{
			{Match: hollowv1alpha1.Match{Labels: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "fails"}}}, FinishAfter: &second, ExitCodes: []int32{7}},
			{Match: hollowv1alpha1.Match{Labels: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "works"}}}, StartAfter: second, FinishAfter: &second},
		}
		s, _ := own.Boot(ctx, under, description)
		namespace := s.Namespace(ctx)
		works, fails := job(namespace, "works", 60), job(namespace, "fails", 1)
		fails.Spec.BackoffLimit = ptr.To[int32](0)
		s.Create(ctx, works, fails)
		patient := s.Watch.Within(expect.Long)
		gomega.Expect(patient.Until(ctx, works, expect.HaveCondition(string(batchv1.JobComplete), corev1.ConditionTrue))).To(gomega.Succeed())
		gomega.Expect(works.Status.Succeeded).To(gomega.Equal(int32(60)))
		gomega.Expect(patient.Until(ctx, fails, expect.HaveCondition(string(batchv1.JobFailed), corev1.ConditionTrue))).To(gomega.Succeed())
		gomega.Expect(fails.Status.Failed).To(gomega.Equal(int32(1)))
		gomega.Expect(s.PodsOf(ctx, namespace, "fails")[0].Status.ContainerStatuses[0].State.Terminated.ExitCode).To(gomega.Equal(int32(7)))
	})
}

func job(namespace, name string, completions int32) *batchv1.Job {
	template := suite.Deployment(namespace, name, 1, corev1.Container{Name: "work", Image: suite.Pause}).Spec.Template
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       batchv1.JobSpec{Completions: &completions, Parallelism: ptr.To[int32](20), Template: template},
	}
}

// Nodes renew their Leases often, so that their silence is noticed soon.
const (
	renewal = 2 * time.Second
	silence = 16 * time.Second
)

func silenceSpecs(under *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "scale.node-returns",
		Promise: "The pods of a node that falls silent are replaced elsewhere; when it comes back it is Ready again, and the old pods go.",
		Source:  "https://kubernetes.io/docs/concepts/architecture/nodes/#condition",
		Judges:  everybody(),
	}, ginkgo.Serial, ginkgo.Label(own.Label), func(ctx context.Context) {
		description := own.Describe("silence", 0)
		description.Spec.Components = map[string]v1alpha1.Component{cluster.ControllerManager: {Args: []string{
			"--node-monitor-period=500ms", fmt.Sprintf("--node-monitor-grace-period=%s", silence),
		}}}
		s, c := own.Boot(ctx, under, description)
		fleet := live(s, 6)
		gomega.Expect(c.WaitHollowReady(ctx, 6)).To(gomega.Succeed())
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 12, corev1.Container{Name: "web", Image: suite.Pause})
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			deployment.Spec.Template.Spec.Tolerations = append(deployment.Spec.Template.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](1),
			})
		}
		s.CreateRolledOut(ctx, deployment)
		victim := s.PodsOf(ctx, namespace, "web")[0]
		fleet.Silence(victim.Spec.NodeName)

		patient := s.Watch.Within(expect.Long)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: victim.Spec.NodeName}}
		gomega.Expect(patient.Until(ctx, node, expect.HaveCondition(string(corev1.NodeReady), corev1.ConditionUnknown))).To(gomega.Succeed())
		gomega.Expect(patient.UntilList(ctx, &corev1.PodList{}, expect.Satisfy("hold 12 ready pods elsewhere", func(list *corev1.PodList) string {
			ready := 0
			for i := range list.Items {
				if ok, _ := expect.BeReady().Match(&list.Items[i]); ok && list.Items[i].Spec.NodeName != node.Name {
					ready++
				}
			}
			if ready != 12 {
				return fmt.Sprintf("%d are", ready)
			}
			return ""
		}), client.InNamespace(namespace))).To(gomega.Succeed())
		// Nobody has confirmed the old pod's end.
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(&victim), &victim)).To(gomega.Succeed())
		gomega.Expect(victim.DeletionTimestamp).NotTo(gomega.BeNil())

		fleet.Revive(node.Name)
		gomega.Expect(patient.Until(ctx, node, expect.HaveCondition(string(corev1.NodeReady), corev1.ConditionTrue))).To(gomega.Succeed())
		gomega.Expect(patient.Gone(ctx, &victim)).To(gomega.Succeed())
	})
}

// live brings hollow nodes to life that end with the running spec.
func live(s *suite.Suite, count int) *hollow.Fleet {
	ginkgo.GinkgoHelper()
	spec := hollowv1alpha1.New(count)
	spec.Heartbeat.RenewInterval = &metav1.Duration{Duration: renewal}
	fleet, err := hollow.New(s.Config, spec)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fleet.Run(ctx) }()
	ginkgo.DeferCleanup(func() {
		cancel()
		gomega.Expect(<-done).To(gomega.Succeed())
	})
	return fleet
}
