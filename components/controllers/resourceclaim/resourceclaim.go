// Package resourceclaim makes the ResourceClaims that pods want from templates, and takes claims back from pods that do
// not need them any more: it ends reservations, frees devices, lifts the finalizer and deletes what was made for a pod.
// https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
package resourceclaim

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	claimrules "k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/klog/v2"
	"k8s.io/utils/lru"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

const (
	name = "resourceclaim-controller"
	// fieldManager owns the names of claims in the status of pods.
	fieldManager = "ResourceClaimController"

	podsByClaim    = "pods-by-claim"
	podsByTemplate = "pods-by-claim-template"
	claimsByOwner  = "claims-by-owning-pod"

	// rememberedPods is how many deleted pods are known to be gone without asking the API server.
	rememberedPods = 500
)

// Controller is the resource claim controller.
type Controller struct {
	env     *controller.Env
	workers int
	sources controller.Sources

	pods      corelisters.PodLister
	podIndex  cache.Indexer
	claims    resourcelisters.ResourceClaimLister
	templates resourcelisters.ResourceClaimTemplateLister
	// written are the claims that this controller made, until the informer delivers them: otherwise a second attempt
	// at a pod could make a second claim.
	written cache.MutationCache
	// gone are the UIDs of pods that were seen to be deleted.
	gone *lru.Cache

	podQueue   *controller.Queue[controller.Key]
	claimQueue *controller.Queue[controller.Key]
}

// New makes the resource claim controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	pods, resource := env.Informers.Core().V1().Pods(), env.Informers.Resource().V1()
	claims, templates := resource.ResourceClaims(), resource.ResourceClaimTemplates()
	c := &Controller{
		env: env, workers: workers,
		pods: pods.Lister(), podIndex: pods.Informer().GetIndexer(),
		claims: claims.Lister(), templates: templates.Lister(),
		gone: lru.New(rememberedPods),
	}
	c.podQueue = controller.NewQueue(name+"-pods", env.Clock, controller.DefaultBackoff, c.syncPod)
	c.claimQueue = controller.NewQueue(name+"-claims", env.Clock, controller.DefaultBackoff, c.syncClaim)

	if err := pods.Informer().AddIndexers(cache.Indexers{podsByClaim: claimKeys, podsByTemplate: templateKeys}); err != nil {
		return nil, fmt.Errorf("indexing pods by claim: %w", err)
	}
	if err := claims.Informer().AddIndexers(cache.Indexers{claimsByOwner: ownerKeys}); err != nil {
		return nil, fmt.Errorf("indexing claims by owner: %w", err)
	}
	index := claims.Informer().GetIndexer()
	c.written = cache.NewIntegerResourceVersionMutationCache(klog.Background(), index, index, time.Hour, true)

	controller.Watch(&c.sources, pods.Informer(), controller.Handlers[*corev1.Pod]{
		Add:    c.podChanged,
		Update: func(_, pod *corev1.Pod) { c.podChanged(pod) },
		Delete: func(pod *corev1.Pod) {
			if wantsClaims(pod) {
				c.gone.Add(pod.UID, nil)
				c.releaseClaims(pod)
			}
		},
	})
	controller.Watch(&c.sources, claims.Informer(), controller.Handlers[*resourcev1.ResourceClaim]{
		Add:    c.claimChanged,
		Update: func(_, claim *resourcev1.ResourceClaim) { c.claimChanged(claim) },
		// A claim that its pod still needs is made anew.
		Delete: func(claim *resourcev1.ResourceClaim) { c.eachPod(podsByClaim, claim, c.podChanged) },
	})
	controller.Watch(&c.sources, templates.Informer(), controller.Handlers[*resourcev1.ResourceClaimTemplate]{
		Add:    func(template *resourcev1.ResourceClaimTemplate) { c.eachPod(podsByTemplate, template, c.podChanged) },
		Update: func(_, template *resourcev1.ResourceClaimTemplate) { c.eachPod(podsByTemplate, template, c.podChanged) },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return name }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	var queues sync.WaitGroup
	queues.Go(func() { c.claimQueue.Run(ctx, c.workers) })
	queues.Go(func() { c.podQueue.Run(ctx, c.workers) })
	queues.Wait()
	return nil
}

func (c *Controller) claimChanged(claim *resourcev1.ResourceClaim) {
	c.claimQueue.Add(cache.MetaObjectToName(claim))
	c.eachPod(podsByClaim, claim, c.podChanged)
}

func (c *Controller) podChanged(pod *corev1.Pod) {
	if !wantsClaims(pod) {
		return
	}
	if over(pod) {
		c.releaseClaims(pod)
	}
	if pod.DeletionTimestamp == nil {
		c.podQueue.Add(cache.MetaObjectToName(pod))
	}
}

// releaseClaims looks at the claims of a pod that needs them no longer.
func (c *Controller) releaseClaims(pod *corev1.Pod) {
	for claim := range claimrules.PodClaims(pod) {
		c.claimQueue.Add(controller.Key{Namespace: pod.Namespace, Name: claim})
	}
}

// eachPod visits the pods that an index has under the object's key.
func (c *Controller) eachPod(index string, object metav1.Object, visit func(*corev1.Pod)) {
	found, err := c.podIndex.ByIndex(index, cache.MetaObjectToName(object).String())
	if err != nil {
		klog.Background().Error(err, "Cannot look up pods", "index", index)
		return
	}
	for _, entry := range found {
		if pod, ok := entry.(*corev1.Pod); ok {
			visit(pod)
		}
	}
}

// wantsClaims is false for nearly every pod. The scheduler makes a claim for extended resources that are devices.
func wantsClaims(pod *corev1.Pod) bool {
	return len(pod.Spec.ResourceClaims) > 0 || pod.Status.ExtendedResourceClaimStatus != nil
}

// over tells that no container of the pod runs or ever will.
func over(pod *corev1.Pod) bool {
	return podstate.Ended(pod) || pod.DeletionTimestamp != nil && pod.Spec.NodeName == ""
}

func claimKeys(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	keys := sets.New[string]()
	for i := range pod.Spec.ResourceClaims {
		if name, _, err := claimrules.Name(pod, &pod.Spec.ResourceClaims[i]); err == nil && name != nil {
			keys.Insert(cache.NewObjectName(pod.Namespace, *name).String())
		}
	}
	return keys.UnsortedList(), nil
}

func templateKeys(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	keys := sets.New[string]()
	for i := range pod.Spec.ResourceClaims {
		if template := pod.Spec.ResourceClaims[i].ResourceClaimTemplateName; template != nil {
			keys.Insert(cache.NewObjectName(pod.Namespace, *template).String())
		}
	}
	return keys.UnsortedList(), nil
}

func ownerKeys(object any) ([]string, error) {
	claim, ok := object.(*resourcev1.ResourceClaim)
	if !ok {
		return nil, nil
	}
	if owner := owningPod(claim); owner != nil {
		return []string{string(owner.UID)}, nil
	}
	return nil, nil
}

// owningPod is the pod that the claim was made for, or nil.
func owningPod(claim *resourcev1.ResourceClaim) *metav1.OwnerReference {
	if owner := metav1.GetControllerOfNoCopy(claim); owner != nil && owner.APIVersion == "v1" && owner.Kind == "Pod" {
		return owner
	}
	return nil
}
