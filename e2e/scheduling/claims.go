package scheduling

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const dra = "https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/"

// devices plays the driver of a namespace's own kind of device: it publishes devices on a node and a class of them.
// Nothing prepares them, so that pods stay on their nodes without starting.
type devices struct {
	s               *suite.Suite
	namespace, node string
}

func newDevices(ctx context.Context, s *suite.Suite, list ...resourcev1.Device) devices {
	ginkgo.GinkgoHelper()
	d := devices{s: s, namespace: s.Namespace(ctx), node: s.Nodes(ctx, 1)[0]}
	publish := func(object client.Object) {
		s.Create(ctx, object)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, object))).To(gomega.Succeed())
		})
	}
	publish(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", d.driver())}}},
	}})
	publish(&resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}, Spec: resourcev1.ResourceSliceSpec{
		Driver: d.driver(), NodeName: &d.node, Devices: list, Pool: resourcev1.ResourcePool{Name: d.node, ResourceSliceCount: 1},
	}})
	return d
}

func (d devices) driver() string { return d.namespace + ".plumbline.dev" }

// device is one with the attribute size.
func device(name string, size int64) resourcev1.Device {
	return resourcev1.Device{Name: name, Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"size": {IntValue: &size}}}
}

// one asks for one device of the class, of at least that size.
func (d devices) one(size int) resourcev1.ResourceClaimSpec {
	request := &resourcev1.ExactDeviceRequest{DeviceClassName: d.namespace}
	if size > 0 {
		request.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{
			Expression: fmt.Sprintf("device.attributes[%q].size >= %d", d.driver(), size),
		}}}
	}
	return resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "one", Exactly: request}}}}
}

func (d devices) claim(name string, spec resourcev1.ResourceClaimSpec) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: name}, Spec: spec}
}

func (d devices) pod(name string, source corev1.PodResourceClaim) *corev1.Pod {
	source.Name = "device"
	return pause(d.namespace, name, func(spec *corev1.PodSpec) {
		spec.ResourceClaims = []corev1.PodResourceClaim{source}
		spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "device"}}
	})
}

// with uses a claim by name.
func (d devices) with(pod, claim string) *corev1.Pod {
	return d.pod(pod, corev1.PodResourceClaim{ResourceClaimName: &claim})
}

// from uses a claim of its own, as a template describes it.
func (d devices) from(pod, template string) *corev1.Pod {
	return d.pod(pod, corev1.PodResourceClaim{ResourceClaimTemplateName: &template})
}

// allocated are the names of the devices that a claim has.
func (d devices) allocated(ctx context.Context, claim *resourcev1.ResourceClaim) []string {
	ginkgo.GinkgoHelper()
	gomega.Expect(d.s.Client.Get(ctx, client.ObjectKeyFromObject(claim), claim)).To(gomega.Succeed())
	var names []string
	if claim.Status.Allocation != nil {
		for _, result := range claim.Status.Allocation.Devices.Results {
			names = append(names, result.Device)
		}
	}
	return names
}

func claimSpecs(s *suite.Suite) {
	judges := []string{"kube-scheduler", "kube-controller-manager"}
	unused := expect.Satisfy("be free again", func(c *resourcev1.ResourceClaim) string {
		// The status goes first, and the finalizer by a write of its own.
		if c.Status.Allocation == nil && len(c.Status.ReservedFor) == 0 && len(c.Finalizers) == 0 {
			return ""
		}
		return fmt.Sprintf("finalizers %v, %+v", c.Finalizers, c.Status)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.exclusive",
		Promise: "A device is allocated to one claim at a time: a second pod waits, told why, and is scheduled when the first gives it up.",
		Source:  dra, Judges: judges,
	}, func(ctx context.Context) {
		d := newDevices(ctx, s, device("only", 1))
		first, second := d.claim("first", d.one(0)), d.claim("second", d.one(0))
		holder, waiting := d.with("holder", "first"), d.with("waiting", "second")
		s.Create(ctx, first, second, holder)
		gomega.Expect(placed(ctx, s, holder)).To(gomega.Equal(d.node))
		gomega.Expect(d.allocated(ctx, first)).To(gomega.ConsistOf("only"))
		gomega.Expect(first.Status.ReservedFor).To(gomega.HaveLen(1))
		gomega.Expect(first.Status.ReservedFor[0].UID).To(gomega.Equal(holder.UID))
		gomega.Expect(first.Finalizers).To(gomega.ContainElement("resource.kubernetes.io/delete-protection"))
		s.Create(ctx, waiting)
		gomega.Expect(unschedulable(ctx, s, waiting)).To(gomega.ContainSubstring("cannot allocate all claims"))
		s.Delete(ctx, holder, metav1.DeletePropagationBackground)
		gomega.Expect(placed(ctx, s, waiting)).To(gomega.Equal(d.node))
		gomega.Expect(d.allocated(ctx, second)).To(gomega.ConsistOf("only"))
		gomega.Expect(s.Watch.Until(ctx, first, unused)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.selector",
		Promise: "A request is met by a device whose attributes satisfy its expressions, and by no other.",
		Source:  dra, Judges: judges,
	}, func(ctx context.Context) {
		d := newDevices(ctx, s, device("small", 1), device("large", 10))
		fitting, vain := d.claim("fitting", d.one(5)), d.claim("vain", d.one(50))
		s.Create(ctx, fitting, vain)
		served, unserved := d.with("served", "fitting"), d.with("unserved", "vain")
		s.Create(ctx, served, unserved)
		gomega.Expect(placed(ctx, s, served)).To(gomega.Equal(d.node))
		gomega.Expect(d.allocated(ctx, fitting)).To(gomega.ConsistOf("large"))
		gomega.Expect(unschedulable(ctx, s, unserved)).To(gomega.ContainSubstring("cannot allocate all claims"))
		gomega.Expect(d.allocated(ctx, vain)).To(gomega.BeEmpty())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.alternatives",
		Promise: "Of the alternatives that a request lists, the first that can be allocated is.",
		Source:  dra + "#prioritized-list", Judges: judges,
	}, func(ctx context.Context) {
		d := newDevices(ctx, s, device("small", 1))
		spec := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "any", FirstAvailable: []resourcev1.DeviceSubRequest{
			{Name: "large", DeviceClassName: d.namespace, Selectors: d.one(5).Devices.Requests[0].Exactly.Selectors},
			{Name: "small", DeviceClassName: d.namespace},
		}}}}}
		claim, pod := d.claim("either", spec), d.with("pod", "either")
		s.Create(ctx, claim, pod)
		placed(ctx, s, pod)
		gomega.Expect(d.allocated(ctx, claim)).To(gomega.ConsistOf("small"))
		gomega.Expect(claim.Status.Allocation.Devices.Results[0].Request).To(gomega.Equal("any/small"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.class-missing",
		Promise: "A pod whose claim names a class that does not exist waits for the class.",
		Source:  dra, Judges: judges,
	}, func(ctx context.Context) {
		d := newDevices(ctx, s, device("only", 1))
		spec := d.one(0)
		spec.Devices.Requests[0].Exactly.DeviceClassName = d.namespace + "-later"
		pod := d.with("pod", "claim")
		s.Create(ctx, d.claim("claim", spec), pod)
		gomega.Expect(unschedulable(ctx, s, pod)).To(gomega.ContainSubstring("request one: device class " + d.namespace + "-later does not exist"))
		class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: d.namespace + "-later"}}
		class.Spec.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", d.driver())}}}
		s.Create(ctx, class)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, class))).To(gomega.Succeed())
		})
		gomega.Expect(placed(ctx, s, pod)).To(gomega.Equal(d.node))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.taint",
		Promise: "A device that is tainted NoSchedule is given only to a request that tolerates the taint.",
		Source:  dra + "#device-taints-and-tolerations", Judges: judges,
	}, func(ctx context.Context) {
		broken := device("broken", 1)
		broken.Taints = []resourcev1.DeviceTaint{{Key: "plumbline.dev/broken", Effect: resourcev1.DeviceTaintEffectNoSchedule}}
		d := newDevices(ctx, s, broken)
		tolerant := d.one(0)
		tolerant.Devices.Requests[0].Exactly.Tolerations = []resourcev1.DeviceToleration{{Key: "plumbline.dev/broken", Operator: resourcev1.DeviceTolerationOpExists}}
		refused, accepted := d.with("refused", "plain"), d.with("accepted", "tolerant")
		s.Create(ctx, d.claim("plain", d.one(0)), d.claim("tolerant", tolerant), refused)
		gomega.Expect(unschedulable(ctx, s, refused)).To(gomega.ContainSubstring("cannot allocate all claims"))
		s.Create(ctx, accepted)
		gomega.Expect(placed(ctx, s, accepted)).To(gomega.Equal(d.node))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.template",
		Promise: "A claim made from a template for a pod is named in the pod's status, belongs to the pod and is deleted with it.",
		Source:  dra, Judges: judges,
	}, func(ctx context.Context) {
		d := newDevices(ctx, s, device("one", 1), device("two", 2))
		template := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "template"}}
		template.Spec.Spec, template.Spec.Labels = d.one(0), map[string]string{"made": "yes"}
		pods := []*corev1.Pod{d.from("first", "template"), d.from("second", "template")}
		s.Create(ctx, template, pods[0], pods[1])
		held := map[string]bool{}
		var claims []*resourcev1.ResourceClaim
		for _, pod := range pods {
			gomega.Expect(placed(ctx, s, pod)).To(gomega.Equal(d.node))
			gomega.Expect(pod.Status.ResourceClaimStatuses).To(gomega.HaveLen(1))
			gomega.Expect(pod.Status.ResourceClaimStatuses[0].Name).To(gomega.Equal("device"))
			claim := d.claim(ptr.Deref(pod.Status.ResourceClaimStatuses[0].ResourceClaimName, ""), resourcev1.ResourceClaimSpec{})
			for _, name := range d.allocated(ctx, claim) {
				held[name] = true
			}
			gomega.Expect(claim.GenerateName).To(gomega.Equal(pod.Name + "-device-"))
			gomega.Expect(claim.Labels).To(gomega.HaveKeyWithValue("made", "yes"))
			gomega.Expect(metav1.IsControlledBy(claim, pod)).To(gomega.BeTrue())
			claims = append(claims, claim)
		}
		gomega.Expect(held).To(gomega.HaveLen(2), "each claim has a device of its own")
		s.Delete(ctx, pods[0], metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Within(expect.Long).Gone(ctx, claims[0])).To(gomega.Succeed())
		gomega.Expect(d.allocated(ctx, claims[1])).To(gomega.HaveLen(1))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.shared",
		Promise: "Pods that name the same claim share its device on the node that has it, until the last of them is gone.",
		Source:  dra, Judges: judges,
	}, func(ctx context.Context) {
		d := newDevices(ctx, s, device("only", 1))
		claim := d.claim("shared", d.one(0))
		first, second := d.with("first", "shared"), d.with("second", "shared")
		s.Create(ctx, claim, first, second)
		gomega.Expect(placed(ctx, s, first)).To(gomega.Equal(d.node))
		gomega.Expect(placed(ctx, s, second)).To(gomega.Equal(d.node))
		gomega.Expect(s.Watch.Until(ctx, claim, expect.Satisfy("be reserved for both", func(c *resourcev1.ResourceClaim) string {
			if len(c.Status.ReservedFor) == 2 {
				return ""
			}
			return fmt.Sprintf("%+v", c.Status.ReservedFor)
		}))).To(gomega.Succeed())
		s.Delete(ctx, first, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, claim, expect.Satisfy("be reserved for the second alone", func(c *resourcev1.ResourceClaim) string {
			if len(c.Status.ReservedFor) == 1 && c.Status.ReservedFor[0].UID == second.UID && c.Status.Allocation != nil {
				return ""
			}
			return fmt.Sprintf("%+v", c.Status)
		}))).To(gomega.Succeed())
		s.Delete(ctx, second, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, claim, unused)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "scheduling.claims.extended-resource",
		Promise: "An extended resource that a device class stands for is met by a device of the class, through a claim made for the pod.",
		Source:  dra + "#extended-resource", Judges: judges,
	}, func(ctx context.Context) {
		d := newDevices(ctx, s, device("only", 1))
		name := corev1.ResourceName(resourcev1.ResourceDeviceClassPrefix + d.namespace)
		taking := func(pod string) *corev1.Pod {
			return pause(d.namespace, pod, func(spec *corev1.PodSpec) {
				spec.Containers[0].Resources.Limits = corev1.ResourceList{name: resource.MustParse("1")}
			})
		}
		holder, waiting := taking("holder"), taking("waiting")
		s.Create(ctx, holder)
		gomega.Expect(placed(ctx, s, holder)).To(gomega.Equal(d.node))
		status := holder.Status.ExtendedResourceClaimStatus
		gomega.Expect(status).NotTo(gomega.BeNil())
		gomega.Expect(status.RequestMappings).To(gomega.ConsistOf(corev1.ContainerExtendedResourceRequest{
			ContainerName: "pause", ResourceName: string(name), RequestName: "container-0-request-0",
		}))
		claim := d.claim(status.ResourceClaimName, resourcev1.ResourceClaimSpec{})
		gomega.Expect(d.allocated(ctx, claim)).To(gomega.ConsistOf("only"))
		s.Create(ctx, waiting)
		gomega.Expect(unschedulable(ctx, s, waiting)).To(gomega.ContainSubstring("cannot allocate all claims"))
		s.Delete(ctx, holder, metav1.DeletePropagationBackground)
		gomega.Expect(placed(ctx, s, waiting)).To(gomega.Equal(d.node))
	})
}
