// Package persistentvolume binds claims to volumes: it finds the volume that a claim gets, ties the two together, tells
// provisioners what to make, and does what the reclaim policy says once a claim is gone.
// https://kubernetes.io/docs/concepts/storage/persistent-volumes/
package persistentvolume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// Config is what the binder can be told.
type Config struct {
	// SyncPeriod is the time between two looks at what is not bound.
	SyncPeriod time.Duration
	// DynamicProvisioning asks provisioners for volumes where a claim's class names one.
	DynamicProvisioning bool
}

// Controller is the volume binder. One worker does all the work, one object after the other, on the newest versions
// known: so no volume is promised twice.
type Controller struct {
	env     *controller.Env
	config  Config
	sources controller.Sources
	queue   *controller.Queue[task]

	claims  newest[*corev1.PersistentVolumeClaim]
	volumes newest[*corev1.PersistentVolume]
	pods    corelisters.PodLister
	classes storagelisters.StorageClassLister
}

// task is a claim or a volume whose turn it is. A volume's key has no namespace.
type task struct {
	claim bool
	key   controller.Key
}

// New makes the volume binder.
func New(env *controller.Env, config Config) (controller.Controller, error) {
	core, storage := env.Informers.Core().V1(), env.Informers.Storage().V1()
	c := &Controller{env: env, config: config, pods: core.Pods().Lister(), classes: storage.StorageClasses().Lister()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, core.PersistentVolumeClaims().Informer(), controller.Handlers[*corev1.PersistentVolumeClaim]{
		Add: c.claimSeen, Update: func(_, claim *corev1.PersistentVolumeClaim) { c.claimSeen(claim) }, Delete: c.claimGone,
	})
	controller.Watch(&c.sources, core.PersistentVolumes().Informer(), controller.Handlers[*corev1.PersistentVolume]{
		Add: c.volumeSeen, Update: func(_, volume *corev1.PersistentVolume) { c.volumeSeen(volume) }, Delete: c.volumeGone,
	})
	controller.Watch(&c.sources, storage.StorageClasses().Informer(), controller.Handlers[*storagev1.StorageClass]{
		Add: c.classSeen, Update: func(_, class *storagev1.StorageClass) { c.classSeen(class) },
	})
	c.sources.Need(core.Pods().Informer())
	return c, nil
}

// Name implements controller.Controller.
func (*Controller) Name() string { return "persistentvolume-binder-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.lookAgain(ctx)
	}()
	c.queue.Run(ctx, 1)
	<-ended
	return nil
}

// lookAgain repeats what users should be reminded of and tries again what failed outside the cluster.
func (c *Controller) lookAgain(ctx context.Context) {
	ticker := c.env.Clock.NewTicker(c.config.SyncPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		for _, claim := range c.claims.list(unbound) {
			c.wakeClaim(claim)
		}
		for _, volume := range c.volumes.list(func(v *corev1.PersistentVolume) bool { return v.Status.Phase != corev1.VolumeBound }) {
			c.wakeVolume(volume.Name)
		}
	}
}

func (c *Controller) sync(ctx context.Context, t task) error {
	if t.claim {
		if claim, known := c.claims.get(t.key); known {
			return c.syncClaim(ctx, claim)
		}
		return nil
	}
	if volume, known := c.volumes.get(t.key); known {
		return c.syncVolume(ctx, volume)
	}
	return nil
}

func (c *Controller) wakeClaim(claim *corev1.PersistentVolumeClaim) {
	c.queue.Add(task{claim: true, key: cache.MetaObjectToName(claim)})
}

func (c *Controller) wakeVolume(name string) {
	c.queue.Add(task{key: controller.Key{Name: name}})
}

func (c *Controller) claimSeen(claim *corev1.PersistentVolumeClaim) {
	if c.claims.see(claim) {
		c.wakeClaim(claim)
	}
}

func (c *Controller) claimGone(claim *corev1.PersistentVolumeClaim) {
	last := c.claims.drop(claim)
	if last.Spec.VolumeName != "" {
		c.wakeVolume(last.Spec.VolumeName)
		return
	}
	for _, volume := range c.volumes.list(func(v *corev1.PersistentVolume) bool { return volumehelpers.IsVolumeBoundToClaim(v, last) }) {
		c.wakeVolume(volume.Name)
	}
}

func (c *Controller) volumeSeen(volume *corev1.PersistentVolume) {
	if c.volumes.see(volume) {
		c.wakeVolume(volume.Name)
	}
}

func (c *Controller) volumeGone(volume *corev1.PersistentVolume) {
	if last := c.volumes.drop(volume); last.Spec.ClaimRef != nil {
		c.queue.Add(task{claim: true, key: keyOf(last.Spec.ClaimRef)})
	}
}

// classSeen wakes the claims that waited for the class, or for any class that is the default.
func (c *Controller) classSeen(class *storagev1.StorageClass) {
	for _, claim := range c.claims.list(unbound) {
		if wanted := volumehelpers.GetPersistentVolumeClaimClass(claim); wanted == class.Name || wanted == "" {
			c.wakeClaim(claim)
		}
	}
}

// offer wakes the claims that may take a volume that has become available.
func (c *Controller) offer(volume *corev1.PersistentVolume) {
	if ref := volume.Spec.ClaimRef; ref != nil {
		c.queue.Add(task{claim: true, key: keyOf(ref)})
		return
	}
	class := volumehelpers.GetPersistentVolumeClass(volume)
	for _, claim := range c.claims.list(unbound) {
		named := claim.Spec.VolumeName
		if named == volume.Name || named == "" && volumehelpers.GetPersistentVolumeClaimClass(claim) == class {
			c.wakeClaim(claim)
		}
	}
}

// unbound tells whether a claim's binding has yet to be completed.
func unbound(claim *corev1.PersistentVolumeClaim) bool {
	_, completed := claim.Annotations[volumehelpers.AnnBindCompleted]
	return !completed
}

func keyOf(ref *corev1.ObjectReference) controller.Key {
	return controller.Key{Namespace: ref.Namespace, Name: ref.Name}
}
