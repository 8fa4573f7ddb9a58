package eviction

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/own"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/machine"
)

const pressure = "https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/"

// The nodes of the pressed cluster. The evictionHard of a bounded machine leaves 100Mi of
// memory, a tenth of the disk and a tenth of the process numbers.
const (
	memoryThreshold = 100 << 20

	lowOnMemory = "node-1"
	lowOnDisk   = "node-2"
)

// pressureSpecs run one after the other on a cluster with nodes small enough to fill.
func pressureSpecs(under *suite.Suite) {
	ginkgo.Describe("node pressure", ginkgo.Ordered, ginkgo.ContinueOnFailure, ginkgo.Serial, ginkgo.Label(own.Label), func() {
		var s *suite.Suite
		var c *cluster.Cluster
		ginkgo.BeforeAll(func(ctx context.Context) {
			description := own.Describe("pressure", 2)
			description.Spec.Nodes[0].Resources = v1alpha1.Resources{Memory: ptr.To(resource.MustParse("700Mi"))}
			description.Spec.Nodes[1].Resources = v1alpha1.Resources{Disk: ptr.To(resource.MustParse("256Mi")), PIDs: ptr.To(resource.MustParse("800"))}
			s, c = own.Boot(ctx, under, description)
		})

		behaviour.It(behaviour.Behaviour{
			ID:      "eviction.local-storage.empty-dir",
			Promise: "A pod whose emptyDir outgrows its sizeLimit is evicted, though the node has room.",
			Source:  "https://kubernetes.io/docs/concepts/storage/volumes/#emptydir", Judges: []string{"kubelet"},
		}, func(ctx context.Context) {
			namespace := s.Namespace(ctx)
			pod := writing(namespace, "writer", "8Mi", lowOnMemory)
			pod.Spec.Volumes[0].EmptyDir.SizeLimit = ptr.To(resource.MustParse("4Mi"))
			s.Create(ctx, pod)
			gomega.Expect(s.Watch.Until(ctx, pod, beEvicted())).To(gomega.Succeed())
			gomega.Expect(pod.Status.Message).To(gomega.Equal(`Usage of EmptyDir volume "scratch" exceeds the limit "4Mi". `))
			expectCondition(ctx, s, lowOnMemory, corev1.NodeDiskPressure, corev1.ConditionFalse)
		})

		behaviour.It(behaviour.Behaviour{
			ID:      "eviction.pressure.memory",
			Promise: "Under memory pressure the pods that exceed their requests go, those that exceed them most first; pods within their requests, static pods and critical pods stay.",
			Source:  pressure + "#pod-selection-for-kubelet-eviction", Judges: []string{"kubelet", "kube-controller-manager"},
		}, func(ctx context.Context) {
			namespace := s.Namespace(ctx)
			// 100Mi beyond its request.
			burstable := holding(namespace, "burstable", "128Mi", 0)
			burstable.Spec.Containers[0].Resources.Requests = memory("28Mi")
			critical := holding(namespace, "critical", "16Mi", 0)
			critical.Spec.PriorityClassName = "system-node-critical"
			s.CreateReady(ctx, burstable, critical)
			static := startStatic(ctx, s, c, holding(namespace, "static", "140Mi", 0))

			// Grows for as long as it is let.
			bestEffort := holding(namespace, "best-effort", "1Gi", 200*time.Millisecond)
			expectHeld(ctx, s, burstable, critical, static)
			startHigh(ctx, s, bestEffort)
			s.Create(ctx, bestEffort)
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, bestEffort, beEvicted())).To(gomega.Succeed())
			gomega.Expect(bestEffort.Status.Message).To(gomega.MatchRegexp(
				`^The node was low on resource: memory. Threshold quantity: 100Mi, available: \w+. Container agent was using \w+, request is 0, has larger consumption of memory. $`))
			gomega.Expect(bestEffort.Status.Conditions).To(gomega.ContainElement(gomega.And(
				gomega.HaveField("Type", corev1.DisruptionTarget), gomega.HaveField("Reason", corev1.PodReasonTerminationByKubelet))))
			expectPressure(ctx, s, lowOnMemory, corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure)
			expectRunning(ctx, s, burstable, critical, static)
			// Nothing that asks for nothing is let in meanwhile.
			late := holding(namespace, "late", "4Mi", 0)
			s.Create(ctx, late)
			gomega.Expect(s.Watch.Until(ctx, late, beEvicted())).To(gomega.Succeed())
			gomega.Expect(late.Status.Message).To(gomega.ContainSubstring("The node had condition: [MemoryPressure]."))

			// Within its request all the time, yet what it takes makes the node run short again.
			guaranteed := holding(namespace, "guaranteed", "250Mi", 100*time.Millisecond)
			guaranteed.Spec.Containers[0].Resources.Limits = corev1.ResourceList{
				corev1.ResourceMemory: resource.MustParse("300Mi"), corev1.ResourceCPU: resource.MustParse("100m"),
			}
			s.Create(ctx, guaranteed)
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, burstable, beEvicted())).To(gomega.Succeed())
			expectRunning(ctx, s, guaranteed, critical, static)
			s.Delete(ctx, guaranteed, metav1.DeletePropagationBackground)
			expectRelief(ctx, s, lowOnMemory, corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure)
			expectRunning(ctx, s, critical, static)
		})

		behaviour.It(behaviour.Behaviour{
			ID:      "eviction.pressure.priority",
			Promise: "Of two pods that exceed their requests the one of lower priority goes first, though it exceeds them by less.",
			Source:  pressure + "#pod-selection-for-kubelet-eviction", Judges: []string{"kubelet"},
		}, func(ctx context.Context) {
			namespace := s.Namespace(ctx)
			class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: namespace}, Value: 1000}
			s.Create(ctx, class)
			ginkgo.DeferCleanup(func(ctx context.Context) { s.Delete(ctx, class, metav1.DeletePropagationBackground) })
			lowly := holding(namespace, "lowly", "128Mi", 0)
			s.CreateReady(ctx, lowly)
			expectHeld(ctx, s, lowly)
			// Too much for both of them by half of what the lowly one has.
			important := holding(namespace, "important", fmt.Sprint(available(ctx, s, lowOnMemory)-memoryThreshold+64<<20), 200*time.Millisecond)
			startHigh(ctx, s, important)
			important.Spec.PriorityClassName = class.Name
			s.Create(ctx, important)
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, lowly, beEvicted())).To(gomega.Succeed())
			expectRunning(ctx, s, important)
			s.Delete(ctx, important, metav1.DeletePropagationBackground)
			expectRelief(ctx, s, lowOnMemory, corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure)
		})

		behaviour.It(behaviour.Behaviour{
			ID:      "eviction.pressure.disk",
			Promise: "Under disk pressure the pod that fills the disk is evicted, and its node takes pods again once there is room.",
			Source:  pressure + "#eviction-signals", Judges: []string{"kubelet", "kube-controller-manager"},
		}, func(ctx context.Context) {
			namespace := s.Namespace(ctx)
			modest := suite.OnNode(suite.Pod(namespace, "modest", suite.AgentContainer("pause")), lowOnDisk)
			s.CreateReady(ctx, modest)
			free, err := strconv.Atoi(printed(ctx, c, lowOnDisk, "df -k --output=avail /var/lib/kubelet | tail -1"))
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			// All but 12Mi, of which the threshold is twice as much.
			pod := writing(namespace, "writer", fmt.Sprintf("%dKi", free-12*1024), lowOnDisk)
			s.Create(ctx, pod)
			gomega.Expect(s.Watch.Until(ctx, pod, beEvicted())).To(gomega.Succeed())
			gomega.Expect(pod.Status.Message).To(gomega.HavePrefix("The node was low on resource: ephemeral-storage. Threshold quantity: "))
			expectPressure(ctx, s, lowOnDisk, corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure)
			expectRelief(ctx, s, lowOnDisk, corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure)
			expectRunning(ctx, s, modest)
		})

		behaviour.It(behaviour.Behaviour{
			ID:      "eviction.pressure.inodes",
			Promise: "Files that are many rather than large bring disk pressure too, and the pod that made them is evicted.",
			Source:  pressure + "#eviction-signals", Judges: []string{"kubelet", "kube-controller-manager"},
		}, func(ctx context.Context) {
			namespace := s.Namespace(ctx)
			modest := suite.OnNode(suite.Pod(namespace, "modest", suite.AgentContainer("pause")), lowOnDisk)
			s.CreateReady(ctx, modest)
			free, err := strconv.Atoi(printed(ctx, c, lowOnDisk, "df --output=iavail /var/lib/kubelet | tail -1"))
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			pod := writing(namespace, "writer", "0", lowOnDisk)
			s.CreateReady(ctx, pod)
			// All but a fiftieth; the threshold is a twentieth. Made from outside, since the
			// agent takes its time for so many files.
			printed(ctx, c, lowOnDisk, fmt.Sprintf("cd /var/lib/kubelet/pods/%s/volumes/kubernetes.io~empty-dir/scratch && seq %d | xargs touch", pod.UID, free-free/50))
			gomega.Expect(s.Watch.Until(ctx, pod, beEvicted())).To(gomega.Succeed())
			gomega.Expect(pod.Status.Message).To(gomega.HavePrefix("The node was low on resource: inodes. Threshold quantity: "))
			expectPressure(ctx, s, lowOnDisk, corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure)
			expectRelief(ctx, s, lowOnDisk, corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure)
			expectRunning(ctx, s, modest)
		})

		behaviour.It(behaviour.Behaviour{
			ID:      "eviction.pressure.pid",
			Promise: "Under PID pressure the pod with the most processes is evicted.",
			Source:  pressure + "#eviction-signals", Judges: []string{"kubelet", "kube-controller-manager"},
		}, func(ctx context.Context) {
			namespace := s.Namespace(ctx)
			numbers := func() int {
				taken, err := strconv.Atoi(printed(ctx, c, lowOnDisk, "cat /sys/fs/cgroup/pids/pids.current 2>/dev/null || cat /sys/fs/cgroup/pids.current"))
				gomega.Expect(err).NotTo(gomega.HaveOccurred())
				return taken
			}
			// Threads start after their processes, so a figure counts once it stays.
			settled := func() int {
				last := -1
				gomega.Eventually(func() bool {
					now := numbers()
					same := now == last
					last = now
					return same
				}).WithTimeout(expect.Scaled(expect.Short)).WithPolling(300 * time.Millisecond).Should(gomega.BeTrue())
				return last
			}
			before := settled()
			const sample = 40
			modest := suite.OnNode(suite.Pod(namespace, "modest", suite.AgentContainer("fork", strconv.Itoa(sample))), lowOnDisk)
			s.CreateReady(ctx, modest)
			expectHeld(ctx, s, modest)
			after := settled()
			each := float64(after-before) / sample
			ginkgo.GinkgoWriter.Printf("%d process numbers were taken, %d with the sample: about %.1f by each child\n", before, after, each)
			// Less than half of the last tenth is left, and more than nothing.
			count := int((770 - float64(after)) / each)
			pod := suite.OnNode(suite.Pod(namespace, "forker", suite.AgentContainer("fork", strconv.Itoa(count))), lowOnDisk)
			pod.Spec.RestartPolicy = corev1.RestartPolicyNever
			s.Create(ctx, pod)
			gomega.Expect(s.Watch.Until(ctx, pod, beEvicted())).To(gomega.Succeed())
			gomega.Expect(pod.Status.Message).To(gomega.HavePrefix("The node was low on resource: pids. Threshold quantity: "))
			expectPressure(ctx, s, lowOnDisk, corev1.NodePIDPressure, corev1.TaintNodePIDPressure)
			expectRelief(ctx, s, lowOnDisk, corev1.NodePIDPressure, corev1.TaintNodePIDPressure)
			expectRunning(ctx, s, modest)
		})
	})
}

// holding is a pod on the node with little memory that takes memory, in pieces of 4Mi
// with a pause after each.
func holding(namespace, name, size string, every time.Duration) *corev1.Pod {
	pod := suite.OnNode(suite.Pod(namespace, name, suite.AgentContainer("alloc-memory", "--every="+every.String(), size)), lowOnMemory)
	// One that the kernel ends is not to come back and be evicted then.
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return pod
}

// expectHeld waits until pods have taken all that they are to take.
func expectHeld(ctx context.Context, s *suite.Suite, pods ...*corev1.Pod) {
	ginkgo.GinkgoHelper()
	for _, pod := range pods {
		gomega.Eventually(s.Logs).WithContext(ctx).WithArguments(pod).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.ContainSubstring("holding"))
	}
}

// startHigh has a pod of holding take at once what does no harm. From there to pressure it
// takes two seconds, slowly enough for it to be seen in time.
func startHigh(ctx context.Context, s *suite.Suite, pod *corev1.Pod) {
	ginkgo.GinkgoHelper()
	first := max(available(ctx, s, lowOnMemory)-memoryThreshold-40<<20, 0)
	container := &pod.Spec.Containers[0]
	container.Args = slices.Insert(container.Args, 1, fmt.Sprintf("--first=%d", first))
}

// startStatic places a pod's manifest into its node's directory and returns its mirror.
func startStatic(ctx context.Context, s *suite.Suite, c *cluster.Cluster, pod *corev1.Pod) *corev1.Pod {
	ginkgo.GinkgoHelper()
	node := pod.Spec.NodeName
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	pod.Spec.NodeName = ""
	manifest, err := yaml.Marshal(pod)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	const file = "/etc/kubernetes/manifests/static.yaml"
	printed(ctx, c, node, fmt.Sprintf("mkdir -p /etc/kubernetes/manifests && cat > %s <<'END'\n%s\nEND", file, manifest))
	ginkgo.DeferCleanup(func(ctx context.Context) { printed(ctx, c, node, "rm "+file) })
	mirror := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name + "-" + node}}
	gomega.Expect(s.Watch.Until(ctx, mirror, expect.BeReady())).To(gomega.Succeed())
	return mirror
}

// writing is a pod that writes so much to an emptyDir.
func writing(namespace, name, size, node string) *corev1.Pod {
	pod := suite.OnNode(suite.Pod(namespace, name, suite.AgentContainer("fill-disk", "/scratch", size)), node)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	return pod
}

func memory(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(size)}
}

// beEvicted asks of a pod that the kubelet ended it for its node's sake.
func beEvicted() gomegatypes.GomegaMatcher {
	failed := expect.HavePhase(corev1.PodFailed)
	return expect.Satisfy("be evicted", func(pod *corev1.Pod) string {
		if ok, _ := failed.Match(pod); !ok {
			return failed.FailureMessage(pod)
		}
		if pod.Status.Reason != "Evicted" {
			return fmt.Sprintf("it failed for reason %q: %s %v", pod.Status.Reason, pod.Status.Message, pod.Status.ContainerStatuses)
		}
		return ""
	})
}

func expectCondition(ctx context.Context, s *suite.Suite, node string, condition corev1.NodeConditionType, status corev1.ConditionStatus) {
	ginkgo.GinkgoHelper()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	gomega.Expect(s.Watch.Until(ctx, object, expect.HaveCondition(string(condition), status))).To(gomega.Succeed())
}

// expectPressure waits for a condition and the taint that keeps pods away.
func expectPressure(ctx context.Context, s *suite.Suite, node string, condition corev1.NodeConditionType, taint string) {
	ginkgo.GinkgoHelper()
	expectCondition(ctx, s, node, condition, corev1.ConditionTrue)
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	gomega.Expect(s.Watch.Until(ctx, object, haveTaint(taint, corev1.TaintEffectNoSchedule, true))).To(gomega.Succeed())
}

// expectRelief waits until neither is left.
func expectRelief(ctx context.Context, s *suite.Suite, node string, condition corev1.NodeConditionType, taint string) {
	ginkgo.GinkgoHelper()
	expectCondition(ctx, s, node, condition, corev1.ConditionFalse)
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	gomega.Expect(s.Watch.Until(ctx, object, haveTaint(taint, corev1.TaintEffectNoSchedule, false))).To(gomega.Succeed())
}

// available is the node's memory that its kubelet holds to be available, in bytes.
func available(ctx context.Context, s *suite.Suite, node string) int64 {
	ginkgo.GinkgoHelper()
	data, err := s.Clientset.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	var summary statsapi.Summary
	gomega.Expect(json.Unmarshal(data, &summary)).To(gomega.Succeed())
	gomega.Expect(summary.Node.Memory).To(gomega.HaveField("AvailableBytes", gomega.Not(gomega.BeNil())))
	return int64(*summary.Node.Memory.AvailableBytes)
}

// expectRunning asks now that pods run.
func expectRunning(ctx context.Context, s *suite.Suite, pods ...*corev1.Pod) {
	ginkgo.GinkgoHelper()
	for _, pod := range pods {
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(gomega.Succeed())
		gomega.Expect(pod).To(expect.BeRunning())
	}
}

// printed runs a shell script in a machine and returns what it printed.
func printed(ctx context.Context, c *cluster.Cluster, name, script string) string {
	ginkgo.GinkgoHelper()
	read, write, err := os.Pipe()
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	defer read.Close()
	_, err = c.Machine(name).Run(ctx, machine.Command{Args: []string{"sh", "-c", script}, Stdout: write})
	gomega.Expect(write.Close()).To(gomega.Succeed())
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	output, err := io.ReadAll(read)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return strings.TrimSpace(string(output))
}
