package resources

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// withProvisional adds, for each resource that has no file of its own yet, one that
// stores objects as they come.
func withProvisional(own []resource.Entry) []resource.Entry {
	have := map[schema.GroupResource]bool{}
	for _, e := range own {
		have[e.ID().GroupResource()] = true
		for _, gv := range e.ID().ServedAs {
			have[schema.GroupResource{Group: gv.Group, Resource: e.ID().Name}] = true
		}
	}
	for _, e := range provisional() {
		if !have[e.ID().GroupResource()] {
			own = append(own, e)
		}
	}
	return own
}

type shape struct {
	name, key string
	cluster   bool
}

func plain[T resource.Object](gv schema.GroupVersion, obj T, list runtime.Object, s shape) resource.Entry {
	t := reflect.TypeOf(obj).Elem()
	d := &resource.Definition[T]{
		Identity:      resource.Identity{GroupVersion: gv, Kind: t.Name(), Name: s.name, Singular: strings.ToLower(t.Name()), ClusterScoped: s.cluster},
		New:           func() T { return reflect.New(t).Interface().(T) },
		NewList:       func() runtime.Object { return reflect.New(reflect.TypeOf(list).Elem()).Interface().(runtime.Object) },
		NameValidator: func(name string, prefix bool) []string { return nil },
		StorageKey:    s.key,
	}
	_ = validation.NameIsDNSSubdomain
	if _, ok := t.FieldByName("Spec"); ok {
		d.Spec = func(o T) any { return reflect.ValueOf(o).Elem().FieldByName("Spec").Addr().Interface() }
		d.TracksGeneration = true
	}
	if _, ok := t.FieldByName("Status"); ok {
		d.Status = func(o T) any { return reflect.ValueOf(o).Elem().FieldByName("Status").Addr().Interface() }
	}
	return d
}

func provisional() []resource.Entry {
	core := corev1.SchemeGroupVersion
	return []resource.Entry{
		plain(core, &corev1.Namespace{}, &corev1.NamespaceList{}, shape{name: "namespaces", cluster: true}),
		plain(core, &corev1.ConfigMap{}, &corev1.ConfigMapList{}, shape{name: "configmaps"}),
		plain(core, &corev1.Secret{}, &corev1.SecretList{}, shape{name: "secrets"}),
		plain(core, &corev1.Node{}, &corev1.NodeList{}, shape{name: "nodes", key: "minions", cluster: true}),
		plain(core, &corev1.Pod{}, &corev1.PodList{}, shape{name: "pods"}),
		plain(core, &corev1.Service{}, &corev1.ServiceList{}, shape{name: "services", key: "services/specs"}),
		plain(core, &corev1.Endpoints{}, &corev1.EndpointsList{}, shape{name: "endpoints", key: "services/endpoints"}),
		plain(core, &corev1.ServiceAccount{}, &corev1.ServiceAccountList{}, shape{name: "serviceaccounts"}),
		plain(core, &corev1.Event{}, &corev1.EventList{}, shape{name: "events"}),
		plain(core, &corev1.PersistentVolume{}, &corev1.PersistentVolumeList{}, shape{name: "persistentvolumes", cluster: true}),
		plain(core, &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolumeClaimList{}, shape{name: "persistentvolumeclaims"}),
		plain(core, &corev1.ReplicationController{}, &corev1.ReplicationControllerList{}, shape{name: "replicationcontrollers", key: "controllers"}),
		plain(core, &corev1.ResourceQuota{}, &corev1.ResourceQuotaList{}, shape{name: "resourcequotas"}),
		plain(core, &corev1.LimitRange{}, &corev1.LimitRangeList{}, shape{name: "limitranges"}),
		plain(core, &corev1.PodTemplate{}, &corev1.PodTemplateList{}, shape{name: "podtemplates"}),
	}
}
