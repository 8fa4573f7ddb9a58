package dynamicresources

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/resource"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	"github.com/plumbline/plumbline/components/scheduler/podstatus"
)

// nameInMemory is the name of a claim that does not exist yet. No claim can have it.
const nameInMemory = "<extended-resources>"

func inMemory(claim *resourcev1.ResourceClaim) bool { return claim.Name == nameInMemory }

// isExtended tells whether a class of devices may stand for a resource: by the name that the class gives, or by the
// class's own.
func isExtended(name v1.ResourceName) bool {
	return nodeinfo.IsExtended(name) || strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix)
}

// extendedRequests sums up the pod's extended resources, nil unless a class stands for one of them. Nearly every pod is
// done with a look at its containers.
func (p *DynamicResources) extendedRequests(pod *v1.Pod) map[v1.ResourceName]int64 {
	classes := p.dra.DeviceClassResolver()
	backed := func(c *v1.Container) bool {
		for name := range c.Resources.Requests {
			if isExtended(name) && classes.GetDeviceClass(name) != nil {
				return true
			}
		}
		return false
	}
	found := false
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			found = found || backed(&list[i])
		}
	}
	if !found {
		return nil
	}
	sums := map[v1.ResourceName]int64{}
	found = false
	for name, amount := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
		if isExtended(name) && !amount.IsZero() {
			sums[name] = amount.Value()
			found = found || classes.GetDeviceClass(name) != nil
		}
	}
	if !found {
		return nil
	}
	return sums
}

// specialClaim returns the claim for the pod's extended resources: one that an earlier attempt left, or one in memory.
func (p *DynamicResources) specialClaim(pod *v1.Pod) (*resourcev1.ResourceClaim, error) {
	all, err := p.dra.ResourceClaims().List()
	if err != nil {
		return nil, err
	}
	for _, claim := range all {
		if claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] == "true" && metav1.IsControlledBy(claim, pod) {
			return claim, nil
		}
	}
	yes := true
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: nameInMemory, GenerateName: pod.Name + "-extended-resources-",
		// Devices are promised under this UID before the claim gets its own.
		UID:             uuid.NewUUID(),
		Annotations:     map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}},
	}}, nil
}

// planExtended begins the node's plan with the claim for those extended resources that the node does not have itself.
func (p *DynamicResources) planExtended(own *podState, pod *v1.Pod, node fwk.NodeInfo) (*nodePlan, *fwk.Status) {
	plan, special := &nodePlan{}, own.special()
	if special == nil {
		return plan, nil
	}
	if !inMemory(special.claim) {
		// It was made for a node chosen before. PostFilter deletes it, and the pod is tried again.
		return nil, rejected("cannot schedule extended resource claim")
	}
	offered := node.GetAllocatable().GetScalarResources()
	classes := p.dra.DeviceClassResolver()
	devices := map[v1.ResourceName]string{}
	for name := range own.extended {
		class := classes.GetDeviceClass(name)
		amount, listed := offered[name]
		switch {
		case class != nil && amount == 0:
			devices[name] = class.Name
		case !listed:
			return nil, rejected("cannot fit resource")
		}
	}
	if len(devices) == 0 {
		return plan, nil
	}
	plan.special = special.claim.DeepCopy()
	plan.special.Spec.Devices.Requests, plan.mappings = deviceRequests(pod, devices)
	return plan, nil
}

// deviceRequests turns containers' extended resources into requests for devices of classes, and says which container
// is served by which. Containers that run side by side have requests of their own. One that has ended before they start
// uses theirs, and what it needs beyond is one more request, which all such containers share.
func deviceRequests(pod *v1.Pod, classes map[v1.ResourceName]string) ([]resourcev1.DeviceRequest, []v1.ContainerExtendedResourceRequest) {
	var requests []resourcev1.DeviceRequest
	var mappings []v1.ContainerExtendedResourceRequest
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		own, served := requestsFor(pod, name, classes[name])
		requests, mappings = append(requests, own...), append(mappings, served...)
	}
	slices.SortFunc(requests, func(a, b resourcev1.DeviceRequest) int { return strings.Compare(a.Name, b.Name) })
	return requests, mappings
}

func requestsFor(pod *v1.Pod, name v1.ResourceName, class string) ([]resourcev1.DeviceRequest, []v1.ContainerExtendedResourceRequest) {
	containers := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	ends := func(i int) bool {
		policy := containers[i].RestartPolicy
		return i < len(pod.Spec.InitContainers) && (policy == nil || *policy != v1.ContainerRestartPolicyAlways)
	}
	var mappings []v1.ContainerExtendedResourceRequest
	serve := func(c *v1.Container, request string) {
		mappings = append(mappings, v1.ContainerExtendedResourceRequest{ContainerName: c.Name, ResourceName: name.String(), RequestName: request})
	}
	lasting := make([]*resourcev1.DeviceRequest, len(containers))
	var requests []resourcev1.DeviceRequest
	for i := range containers {
		if count := amountOf(&containers[i], name); count > 0 && !ends(i) {
			lasting[i] = newRequest(i, &containers[i], name, class, count)
			serve(&containers[i], lasting[i].Name)
			requests = append(requests, *lasting[i])
		}
	}
	var extra *resourcev1.DeviceRequest
	var extended []int
	for i := range containers {
		missing := amountOf(&containers[i], name)
		if missing == 0 || !ends(i) {
			continue
		}
		for _, later := range lasting[i:] {
			if later != nil && missing > 0 {
				serve(&containers[i], later.Name)
				missing -= later.Exactly.Count
			}
		}
		if missing > 0 {
			extended = append(extended, len(mappings))
			serve(&containers[i], "")
			if extra == nil || missing > extra.Exactly.Count {
				extra = newRequest(i, &containers[i], name, class, missing)
			}
		}
	}
	if extra != nil {
		for _, i := range extended {
			mappings[i].RequestName = extra.Name
		}
		requests = append(requests, *extra)
	}
	return requests, mappings
}

func amountOf(c *v1.Container, name v1.ResourceName) int64 {
	amount := c.Resources.Requests[name]
	count, exact := amount.AsInt64()
	if !exact {
		return 0
	}
	return count
}

// newRequest names a request after its container and its place among the container's resources.
func newRequest(container int, c *v1.Container, name v1.ResourceName, class string, count int64) *resourcev1.DeviceRequest {
	place := slices.Index(slices.Sorted(maps.Keys(c.Resources.Requests)), name)
	return &resourcev1.DeviceRequest{
		Name:    fmt.Sprintf("container-%d-request-%d", container, place),
		Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: count},
	}
}

// createSpecial makes the claim for extended resources real.
func (p *DynamicResources) createSpecial(ctx context.Context, planned *resourcev1.ResourceClaim) (*resourcev1.ResourceClaim, error) {
	claim := planned.DeepCopy()
	claim.Name, claim.UID, claim.Status = "", "", resourcev1.ResourceClaimStatus{}
	created, err := p.client.ResourceV1().ResourceClaims(claim.Namespace).Create(ctx, claim, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create claim for extended resources %v: %w", klog.KObj(planned), err)
	}
	return created, nil
}

// recordSpecial tells the kubelet which container uses what of the claim.
func (p *DynamicResources) recordSpecial(ctx context.Context, pod *v1.Pod, claim *resourcev1.ResourceClaim, mappings []v1.ContainerExtendedResourceRequest) error {
	if len(mappings) == 0 {
		return errors.New("nil or empty request mappings, no update of pod " + klog.KObj(pod).String() + " ExtendedResourceClaimStatus")
	}
	after := pod.Status.DeepCopy()
	after.ExtendedResourceClaimStatus = &v1.PodExtendedResourceClaimStatus{RequestMappings: mappings, ResourceClaimName: claim.Name}
	if err := podstatus.Patch(ctx, p.client, pod, after); err != nil {
		return fmt.Errorf("update pod %s ExtendedResourceClaimStatus: %w", klog.KObj(pod), err)
	}
	return nil
}

// deleteSpecial deletes the claim for extended resources, and its devices' hold with it.
func (p *DynamicResources) deleteSpecial(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	client := p.client.ResourceV1().ResourceClaims(claim.Namespace)
	newest := claim.DeepCopy()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		newest.Finalizers = slices.DeleteFunc(newest.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
		_, err := client.Update(ctx, newest, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			if latest, getErr := client.Get(ctx, claim.Name, metav1.GetOptions{}); getErr == nil {
				newest = latest
			}
		}
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update resourceclaim %s: %w", klog.KObj(claim), err)
	}
	if err := client.Delete(ctx, claim.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}
