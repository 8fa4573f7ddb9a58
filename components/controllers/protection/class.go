package protection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// NewClasses makes the controller that protects volume attributes classes that a claim or a volume names.
// https://kubernetes.io/docs/concepts/storage/volume-attributes-classes/
func NewClasses(env *controller.Env) (controller.Controller, error) {
	classes := env.Informers.Storage().V1().VolumeAttributesClasses()
	claims, volumes := env.Informers.Core().V1().PersistentVolumeClaims(), env.Informers.Core().V1().PersistentVolumes()
	c := &Controller{
		name: "volumeattributesclass-protection-controller", finalizer: classFinalizer,
		get: func(key controller.Key) (metav1.Object, error) { return classes.Lister().Get(key.Name) },
		update: func(ctx context.Context, object metav1.Object) error {
			return write(ctx, env.Client.StorageV1().VolumeAttributesClasses().Update, object)
		},
		inUse: func(ctx context.Context, class metav1.Object) (bool, error) {
			if cached, err := volumes.Lister().List(labels.Everything()); err != nil || namedBy(cached, classOf, class) {
				return true, err
			}
			if cached, err := claims.Lister().List(labels.Everything()); err != nil || namedBy(cached, classesOf, class) {
				return true, err
			}
			// The caches may lag behind; the finalizer goes once.
			live, err := env.Client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
			if err != nil {
				return true, err
			}
			if namedBy(live.Items, func(v corev1.PersistentVolume) []string { return classOf(&v) }, class) {
				return true, nil
			}
			liveClaims, err := env.Client.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
			if err != nil {
				return true, err
			}
			return namedBy(liveClaims.Items, func(v corev1.PersistentVolumeClaim) []string { return classesOf(&v) }, class), nil
		},
	}
	c.queue = controller.NewQueue(c.name, env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, classes.Informer(), controller.Handlers[*storagev1.VolumeAttributesClass]{
		Add:    func(class *storagev1.VolumeAttributesClass) { c.queue.Add(cache.MetaObjectToName(class)) },
		Update: func(_, class *storagev1.VolumeAttributesClass) { c.queue.Add(cache.MetaObjectToName(class)) },
	})
	controller.Watch(&c.sources, volumes.Informer(), releasing(c, classOf))
	controller.Watch(&c.sources, claims.Informer(), releasing(c, classesOf))
	return c, nil
}

// classOf is the class that a volume has.
func classOf(volume *corev1.PersistentVolume) []string {
	if volume.Spec.VolumeAttributesClassName == nil {
		return nil
	}
	return []string{*volume.Spec.VolumeAttributesClassName}
}

// classesOf are the classes that a claim wants, has, and is on the way to.
func classesOf(claim *corev1.PersistentVolumeClaim) []string {
	var names []string
	for _, name := range []*string{claim.Spec.VolumeAttributesClassName, claim.Status.CurrentVolumeAttributesClassName} {
		if name != nil {
			names = append(names, *name)
		}
	}
	if modify := claim.Status.ModifyVolumeStatus; modify != nil && modify.TargetVolumeAttributesClassName != "" {
		names = append(names, modify.TargetVolumeAttributesClassName)
	}
	return names
}

func namedBy[T any](objects []T, names func(T) []string, class metav1.Object) bool {
	return slices.ContainsFunc(objects, func(object T) bool { return slices.Contains(names(object), class.GetName()) })
}

// releasing looks again at classes that an object names no more.
func releasing[T any](c *Controller, names func(T) []string) controller.Handlers[T] {
	return controller.Handlers[T]{
		Update: func(old, object T) {
			for _, name := range names(old) {
				if !slices.Contains(names(object), name) {
					c.queue.Add(controller.Key{Name: name})
				}
			}
		},
		Delete: func(object T) {
			for _, name := range names(object) {
				c.queue.Add(controller.Key{Name: name})
			}
		},
	}
}
