package cycle

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// Watch feeds the informers' events to cache and queue. It returns what is done once their first lists are taken in.
// Besides pods and nodes, it watches the resources that registered events name.
func (s *Scheduler) Watch(factory informers.SharedInformerFactory, registered []fwk.ClusterEvent) ([]cache.DoneChecker, error) {
	handlers := map[source]cache.ResourceEventHandler{
		factory.Core().V1().Pods().Informer():  cache.ResourceEventHandlerFuncs{AddFunc: s.podAdded, UpdateFunc: s.podUpdated, DeleteFunc: s.podDeleted},
		factory.Core().V1().Nodes().Informer(): cache.ResourceEventHandlerFuncs{AddFunc: s.nodeAdded, UpdateFunc: s.nodeUpdated, DeleteFunc: s.nodeDeleted},
	}
	for _, event := range registered {
		if from := s.sourceOf(factory, event.Resource); from != nil {
			handlers[from] = s.mover(event.Resource)
		}
	}
	var synced []cache.DoneChecker
	for from, handler := range handlers {
		registration, err := from.AddEventHandler(handler)
		if err != nil {
			return nil, err
		}
		synced = append(synced, registration.HasSyncedChecker())
	}
	return synced, nil
}

// source is an informer, or what passes its events on.
type source interface {
	AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error)
}

// sourceOf returns where to hear of a resource that plugins may register for, nil for pods, nodes and what is not in
// the built-in API.
func (s *Scheduler) sourceOf(factory informers.SharedInformerFactory, resource fwk.EventResource) source {
	if s.DRA != nil {
		if from, found := s.DRA.Source(resource); found {
			return from
		}
	}
	switch resource {
	case fwk.PersistentVolume:
		return factory.Core().V1().PersistentVolumes().Informer()
	case fwk.PersistentVolumeClaim:
		return factory.Core().V1().PersistentVolumeClaims().Informer()
	case fwk.StorageClass:
		return factory.Storage().V1().StorageClasses().Informer()
	case fwk.CSINode:
		return factory.Storage().V1().CSINodes().Informer()
	case fwk.CSIDriver:
		return factory.Storage().V1().CSIDrivers().Informer()
	case fwk.CSIStorageCapacity:
		return factory.Storage().V1().CSIStorageCapacities().Informer()
	case fwk.VolumeAttachment:
		return factory.Storage().V1().VolumeAttachments().Informer()
	case fwk.ResourceClaim:
		return factory.Resource().V1().ResourceClaims().Informer()
	case fwk.ResourceSlice:
		return factory.Resource().V1().ResourceSlices().Informer()
	case fwk.PodGroup:
		return factory.Scheduling().V1beta1().PodGroups().Informer()
	case fwk.DeviceClass:
		return factory.Resource().V1().DeviceClasses().Informer()
	}
	return nil
}

// mover tells the queue of everything that happens to a resource.
func (s *Scheduler) mover(resource fwk.EventResource) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.move(clusterevent.Event(resource, fwk.Add), nil, obj, nil) },
		UpdateFunc: func(older, newer any) { s.move(clusterevent.Event(resource, fwk.Update), older, newer, nil) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			s.move(clusterevent.Event(resource, fwk.Delete), obj, nil, nil)
		},
	}
}

func (s *Scheduler) move(event fwk.ClusterEvent, older, newer any, admit func(*v1.Pod) bool) {
	start := time.Now()
	s.Queue.Move(event, older, newer, admit)
	s.Metrics.Event(event.Label(), start)
}

func (s *Scheduler) nodeAdded(obj any) {
	node := obj.(*v1.Node)
	s.Cache.AddNode(node)
	s.move(clusterevent.Event(fwk.Node, fwk.Add), nil, node, nil)
}

func (s *Scheduler) nodeUpdated(older, newer any) {
	was, is := older.(*v1.Node), newer.(*v1.Node)
	s.Cache.AddNode(is)
	for _, event := range clusterevent.NodeUpdate(was, is) {
		s.move(event, was, is, nil)
	}
}

func (s *Scheduler) nodeDeleted(obj any) {
	node, _, err := clusterevent.Objects[*v1.Node](obj, nil)
	if err != nil || node == nil {
		return
	}
	s.move(clusterevent.Event(fwk.Node, fwk.Delete), node, nil, nil)
	if err := s.Cache.RemoveNode(node.Name); err != nil {
		klog.Background().Error(err, "Removing a node from the cache failed", "node", klog.KObj(node))
	}
}

// ours says whether a pod names one of this scheduler's profiles.
func (s *Scheduler) ours(pod *v1.Pod) bool {
	_, found := s.Profiles[pod.Spec.SchedulerName]
	return found
}

func (s *Scheduler) podAdded(obj any) {
	pod := obj.(*v1.Pod)
	switch {
	case pod.Spec.NodeName != "":
		s.take(pod)
	case s.ours(pod):
		s.Queue.Add(pod)
		if pod.Spec.SchedulingGroup != nil {
			// Others of its group may have waited for it.
			s.move(clusterevent.Event(fwk.UnscheduledPod, fwk.Add), nil, pod, nil)
		}
	}
}

// take counts a bound pod on its node.
func (s *Scheduler) take(pod *v1.Pod) {
	if err := s.Cache.AddPod(pod); err != nil {
		klog.Background().Error(err, "Adding a pod to the cache failed", "pod", klog.KObj(pod))
	}
	s.move(clusterevent.Event(fwk.AssignedPod, fwk.Add), nil, pod, nil)
}

func (s *Scheduler) podUpdated(older, newer any) {
	was, is := older.(*v1.Pod), newer.(*v1.Pod)
	if was.UID != is.UID {
		// The watch was interrupted, and meanwhile one pod replaced another of its name.
		s.podDeleted(was)
		s.podAdded(is)
		return
	}
	switch {
	case was.Spec.NodeName != "":
		if err := s.Cache.UpdatePod(is); err != nil {
			klog.Background().Error(err, "Updating a pod in the cache failed", "pod", klog.KObj(is))
		}
		for _, event := range clusterevent.PodUpdate(was, is, false) {
			s.move(event, was, is, nil)
		}
	case is.Spec.NodeName != "":
		s.take(is)
		if s.ours(was) {
			s.Queue.Delete(was)
		}
	case s.ours(was) && was.ResourceVersion != is.ResourceVersion:
		s.waitingUpdated(was, is)
	}
}

func (s *Scheduler) waitingUpdated(was, is *v1.Pod) {
	if s.Cache.IsAssumed(is.UID) {
		if is.DeletionTimestamp != nil && was.DeletionTimestamp == nil {
			s.assumedDeleted(is)
		}
		return
	}
	s.Queue.Update(was, is)
	if nominated := was.Status.NominatedNodeName; nominated != "" && nominated != is.Status.NominatedNodeName {
		s.released(was)
	}
}

// released tells pods that are no more important that the room nominated to a pod is free.
func (s *Scheduler) released(pod *v1.Pod) {
	priority := corev1helpers.PodPriority(pod)
	s.move(clusterevent.Event(fwk.AssignedPod, fwk.Delete), pod, nil, func(other *v1.Pod) bool {
		return corev1helpers.PodPriority(other) <= priority
	})
}

// assumedDeleted calls off the binding of a pod that is going.
func (s *Scheduler) assumedDeleted(pod *v1.Pod) {
	assumed, found := s.Cache.Pod(pod.UID)
	if !found {
		return
	}
	if profile := s.Profiles[assumed.Spec.SchedulerName]; profile == nil || !profile.RejectWaitingPod(pod.UID) {
		if err := s.Cache.RemovePod(assumed); err != nil {
			klog.Background().V(2).Info("Assumed pod was gone already", "pod", klog.KObj(pod), "err", err)
		}
	}
	s.move(clusterevent.Event(fwk.AssignedPod, fwk.Delete), assumed, nil, nil)
}

func (s *Scheduler) podDeleted(obj any) {
	pod, _, err := clusterevent.Objects[*v1.Pod](obj, nil)
	if err != nil || pod == nil {
		return
	}
	if _, cached := s.cachedBound(pod.UID); cached || pod.Spec.NodeName != "" {
		if err := s.Cache.RemovePod(pod); err != nil {
			klog.Background().V(2).Info("Removing a pod from the cache failed", "pod", klog.KObj(pod), "err", err)
		}
		s.move(clusterevent.Event(fwk.AssignedPod, fwk.Delete), pod, nil, nil)
		return
	}
	if !s.ours(pod) {
		return
	}
	s.Queue.Delete(pod)
	if s.Cache.IsAssumed(pod.UID) {
		s.assumedDeleted(pod)
	} else if pod.Status.NominatedNodeName != "" {
		s.released(pod)
	}
}

// cachedBound returns a pod that is known to be bound, even if the last version seen of it was not.
func (s *Scheduler) cachedBound(uid types.UID) (*v1.Pod, bool) {
	if s.Cache.IsAssumed(uid) {
		return nil, false
	}
	return s.Cache.Pod(uid)
}
