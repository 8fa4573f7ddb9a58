package main

import (
	"context"
	"encoding/json"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// cluster is a scheduler that is told everything by hand: its informers are never started.
type cluster struct {
	ctx       context.Context
	close     context.CancelFunc
	informers informers.SharedInformerFactory
	scheduler *scheduler.Scheduler
	snapshot  *cache.Snapshot
	nodes     map[string]*v1.Node
	bound     chan struct{}
	made      int
}

func newCluster(ctx context.Context) (*cluster, error) {
	ctx, cancel := context.WithCancel(ctx)
	bound := make(chan struct{}, 1024)
	client := instant{fake.NewClientset(), bound}
	c := &cluster{bound: bound, ctx: ctx, close: cancel, informers: scheduler.NewInformerFactory(client, 0, nil), snapshot: cache.NewEmptySnapshot(), nodes: map[string]*v1.Node{}}
	recorder := func(string) events.EventRecorderLogger { return silent{} }
	var err error
	c.scheduler, err = scheduler.New(ctx, client, c.informers, nil, recorder, scheduler.WithNodeInfoSnapshot(c.snapshot))
	return c, err
}

func decode[T runtime.Object](raw json.RawMessage) (T, error) {
	var none T
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
	if err != nil {
		return none, err
	}
	typed, ok := object.(T)
	if !ok {
		return none, fmt.Errorf("a %s is no %T", kind.Kind, none)
	}
	return typed, nil
}

// store is the informer's store for objects of the kind.
func (c *cluster) store(object runtime.Object) (clientcache.Store, error) {
	mapping, _ := meta.UnsafeGuessKindToResource(object.GetObjectKind().GroupVersionKind())
	informer, err := c.informers.ForResource(mapping)
	if err != nil {
		return nil, err
	}
	return informer.Informer().GetStore(), nil
}

func (c *cluster) change(r request) error {
	for _, raw := range r.Set {
		object, err := decode[runtime.Object](raw)
		if err != nil {
			return err
		}
		if err := c.set(object); err != nil {
			return err
		}
	}
	for _, raw := range r.Delete {
		object, err := decode[runtime.Object](raw)
		if err != nil {
			return err
		}
		if err := c.delete(object); err != nil {
			return err
		}
	}
	for _, n := range r.Nominate {
		pod, err := decode[*v1.Pod](n.Pod)
		if err != nil {
			return err
		}
		if err := c.set(pod); err != nil {
			return err
		}
		info, err := framework.NewPodInfo(pod)
		if err != nil {
			return err
		}
		// The nominator knows only names; what a nominated pod needs is looked up in the queue.
		c.scheduler.SchedulingQueue.Add(c.ctx, pod)
		c.scheduler.SchedulingQueue.AddNominatedPod(klog.Background(), info, &fwk.NominatingInfo{NominatingMode: fwk.ModeOverride, NominatedNodeName: n.Node})
	}
	return nil
}

func (c *cluster) set(object runtime.Object) error {
	store, err := c.store(object)
	if err != nil {
		return err
	}
	older, known, err := store.Get(object)
	if err != nil {
		return err
	}
	log := klog.Background()
	switch o := object.(type) {
	case *v1.Node:
		if was := c.nodes[o.Name]; was != nil {
			c.scheduler.Cache.UpdateNode(log, was, o)
		} else {
			c.scheduler.Cache.AddNode(log, o)
		}
		c.nodes[o.Name] = o
	case *v1.Pod:
		if o.Spec.NodeName == "" {
			break
		}
		if known && older.(*v1.Pod).Spec.NodeName != "" {
			err = c.scheduler.Cache.UpdatePod(log, older.(*v1.Pod), o)
		} else {
			c.scheduler.SchedulingQueue.DeleteNominatedPodIfExists(o)
			err = c.scheduler.Cache.AddPod(log, o)
		}
		if err != nil {
			return err
		}
	}
	if known {
		return store.Update(object)
	}
	return store.Add(object)
}

func (c *cluster) delete(object runtime.Object) error {
	store, err := c.store(object)
	if err != nil {
		return err
	}
	if err := store.Delete(object); err != nil {
		return err
	}
	log := klog.Background()
	switch o := object.(type) {
	case *v1.Node:
		delete(c.nodes, o.Name)
		return c.scheduler.Cache.RemoveNode(log, o)
	case *v1.Pod:
		c.scheduler.SchedulingQueue.DeleteNominatedPodIfExists(o)
		if o.Spec.NodeName != "" {
			return c.scheduler.Cache.RemovePod(log, o)
		}
	}
	return nil
}
