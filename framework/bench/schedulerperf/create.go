package schedulerperf

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumbline/plumbline/framework/bench/workload"
	hollow "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
	"github.com/plumbline/plumbline/framework/images"
)

// workers is how many objects are created at a time; upstream's benchmark has as many.
const workers = 30

// each calls a function for the numbers from first up to end, several at a time.
func (s *session) each(first, end int, f func(index int) error) error {
	var group errgroup.Group
	var next atomic.Int64
	next.Store(int64(first))
	for range min(workers, end-first) {
		group.Go(func() error {
			for s.ctx.Err() == nil {
				index := int(next.Add(1) - 1)
				if index >= end {
					return nil
				}
				if err := f(index); err != nil {
					return err
				}
			}
			return s.ctx.Err()
		})
	}
	return group.Wait()
}

// object makes one object of a template. What is the same for all is parsed once.
func object[T runtime.Object](t *workload.Template, params map[string]any, count int, empty func() T) (func(index int) (T, error), error) {
	if !t.Fixed() {
		return func(index int) (T, error) {
			one := empty()
			return one, t.Object(params, index, count, one)
		}, nil
	}
	same := empty()
	err := t.Object(params, 0, count, same)
	return func(int) (T, error) { return same.DeepCopyObject().(T), nil }, err
}

// createNodes creates nodes as objects of the API. What upstream's benchmark patches
// afterwards, they have from the start.
func (s *session) createNodes(o workload.Operation, a *workload.CreateNodes) error {
	make := func(int) (*corev1.Node, error) { return plainNode(fmt.Sprintf("node-%d-", o.Index)), nil }
	if a.NodeTemplatePath != nil {
		var err error
		make, err = object(a.NodeTemplatePath, a.TemplateParams, a.Count, func() *corev1.Node { return &corev1.Node{} })
		if err != nil {
			return err
		}
	}
	first := s.nodes
	s.nodes += a.Count
	err := s.each(0, a.Count, func(index int) error {
		node, err := make(index)
		if err != nil {
			return err
		}
		if node.Name == "" {
			node.Name = fmt.Sprintf("%s%d", node.GenerateName, first+index)
		}
		prepareNode(node, a, index)
		if s.Profile.hollow {
			node.Labels[hollow.Label] = ""
		}
		created, err := s.client.CoreV1().Nodes().Create(s.ctx, node, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create node: %w", err)
		}
		s.capacity.learn(created)
		if a.NodeAllocatableStrategy != nil {
			_, err = s.client.StorageV1().CSINodes().Create(s.ctx, csiNode(created, a.NodeAllocatableStrategy), metav1.CreateOptions{})
		}
		return err
	})
	if err == nil && s.Profile.hollow {
		err = s.awaitNodes(s.nodes)
	}
	return err
}

// plainNode is what upstream's benchmark takes where there is no template.
func plainNode(prefix string) *corev1.Node {
	has := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix},
		Status: corev1.NodeStatus{
			Capacity: has, Allocatable: has,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// prepareNode makes a node differ from the others.
func prepareNode(node *corev1.Node, a *workload.CreateNodes, index int) {
	if node.Labels == nil {
		node.Labels = map[string]string{}
	}
	node.Labels[corev1.LabelHostname] = node.Name
	if s := a.LabelNodePrepareStrategy; s != nil {
		node.Labels[s.LabelKey] = s.LabelValues[index%len(s.LabelValues)]
	}
	if s := a.UniqueNodeLabelStrategy; s != nil {
		node.Labels[s.LabelKey] = "of-" + node.Name
	}
	if s := a.NodeAllocatableStrategy; s != nil {
		if node.Status.Allocatable == nil {
			node.Status.Allocatable = node.Status.Capacity.DeepCopy()
		}
		for name, quantity := range s.NodeAllocatable {
			node.Status.Allocatable[corev1.ResourceName(name)] = resource.MustParse(quantity)
		}
	}
}

func csiNode(node *corev1.Node, a *workload.NodeAllocatable) *storagev1.CSINode {
	c := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
	for driver, allocatable := range a.CSINodeAllocatable {
		c.Spec.Drivers = append(c.Spec.Drivers, storagev1.CSINodeDriver{Name: driver, NodeID: node.Name, Allocatable: allocatable})
	}
	return c
}

func (s *session) createNamespaces(a *workload.CreateNamespaces) error {
	like := &corev1.Namespace{}
	if a.NamespaceTemplatePath != nil {
		if err := a.NamespaceTemplatePath.Object(nil, 0, 1, like); err != nil {
			return err
		}
	}
	return s.each(0, a.Count, func(index int) error {
		namespace := like.DeepCopy()
		namespace.Name = fmt.Sprintf("%s-%d", a.Prefix, index)
		return s.createNamespace(namespace)
	})
}

func (s *session) ensureNamespace(name string) error {
	return s.createNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// createNamespace takes one that is there already for what was meant.
func (s *session) createNamespace(namespace *corev1.Namespace) error {
	_, err := s.client.CoreV1().Namespaces().Create(s.ctx, namespace, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil && s.Profile.hollow {
		err = s.awaitAccount(namespace.Name)
	}
	return err
}

// podPlan is how the pods of an operation are made.
type podPlan struct {
	session   *session
	namespace string
	make      func(index int) (*corev1.Pod, error)
	volume    func(index int) (*corev1.PersistentVolume, error)
	claim     func(index int) (*corev1.PersistentVolumeClaim, error)
}

func (s *session) planPods(a *workload.CreatePods, namespace string) (*podPlan, error) {
	plan := &podPlan{session: s, namespace: namespace}
	template := a.PodTemplatePath
	if template == nil {
		template = s.Workload.DefaultPodTemplate
	}
	if template == nil {
		plan.make = func(int) (*corev1.Pod, error) { return plainPod(), nil }
	} else {
		of, err := object(template, a.TemplateParams, a.Count, func() *corev1.Pod { return &corev1.Pod{} })
		if err != nil {
			return nil, err
		}
		plan.make = func(index int) (*corev1.Pod, error) {
			pod, err := of(index)
			if err == nil && a.SignatureBatchSize > 0 {
				if pod.Labels == nil {
					pod.Labels = map[string]string{}
				}
				pod.Labels["signature"] = fmt.Sprintf("signature-label-%d", index/a.SignatureBatchSize)
			}
			return pod, err
		}
	}
	if a.PersistentVolumeClaimTemplatePath == nil {
		return plan, nil
	}
	var err error
	if plan.volume, err = object(a.PersistentVolumeTemplatePath, nil, 1, func() *corev1.PersistentVolume { return &corev1.PersistentVolume{} }); err != nil {
		return nil, err
	}
	plan.claim, err = object(a.PersistentVolumeClaimTemplatePath, nil, 1, func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} })
	return plan, err
}

// plainPod is what upstream's benchmark takes where there is no template.
func plainPod() *corev1.Pod {
	needs := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("500Mi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "pause", Image: images.Pause,
			Ports:     []corev1.ContainerPort{{ContainerPort: 80}},
			Resources: corev1.ResourceRequirements{Requests: needs, Limits: needs},
		}}},
	}
}

// create creates pods with some numbers, and makes them members of a batch.
func (p *podPlan) create(first, end int, members *batch) error {
	s := p.session
	return s.each(first, end, func(index int) error {
		pod, err := p.make(index)
		if err != nil {
			return err
		}
		if p.claim != nil {
			if err := p.createVolume(pod, index); err != nil {
				return err
			}
		}
		if err := s.suitPod(pod); err != nil {
			return err
		}
		created, err := s.client.CoreV1().Pods(p.namespace).Create(s.ctx, pod, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create pod: %w", err)
		}
		s.pods.join(members, created)
		return nil
	})
}

// createVolume gives a pod a volume that is bound to its claim already.
func (p *podPlan) createVolume(pod *corev1.Pod, index int) error {
	s := p.session
	claim, err := p.claim(index)
	if err != nil {
		return err
	}
	volume, err := p.volume(index)
	if err != nil {
		return err
	}
	claim.Name = fmt.Sprintf("pvc-%d", index)
	volume.Name = fmt.Sprintf("%s-vol-%d", p.namespace, index)
	if volume.Spec.CSI != nil {
		volume.Spec.CSI.VolumeHandle = volume.Name
	}
	claim.Spec.VolumeName = volume.Name
	volume.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: p.namespace, Name: claim.Name}
	claims, volumes := s.client.CoreV1().PersistentVolumeClaims(p.namespace), s.client.CoreV1().PersistentVolumes()
	if claim, err = claims.Create(s.ctx, claim, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create claim: %w", err)
	}
	claim.Status.Phase = corev1.ClaimBound
	if _, err := claims.UpdateStatus(s.ctx, claim, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("bind claim: %w", err)
	}
	if volume, err = volumes.Create(s.ctx, volume, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create volume: %w", err)
	}
	volume.Status.Phase = corev1.VolumeBound
	if _, err := volumes.UpdateStatus(s.ctx, volume, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("bind volume: %w", err)
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name:         "vol",
		VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}},
	})
	return nil
}
