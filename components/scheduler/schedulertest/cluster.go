package schedulertest

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clientcache "k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/pluginargs"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// Cluster is nodes, pods on them and other objects, seen by plugins.
type Cluster struct {
	// Handle is left nil but for what Cluster answers itself.
	fwk.Handle
	Cache     *cache.Cache
	Snapshot  *cache.Snapshot
	Informers informers.SharedInformerFactory
	Client    *fake.Clientset
}

// NewCluster makes a cluster. Pods without a node are known to informers only.
func NewCluster(t testing.TB, objects ...apiruntime.Object) *Cluster {
	t.Helper()
	c := &Cluster{Cache: cache.New(), Snapshot: cache.NewSnapshot(), Client: fake.NewClientset(objects...)}
	c.Informers = informers.NewSharedInformerFactory(c.Client, 0)
	core, apps, storage := c.Informers.Core().V1(), c.Informers.Apps().V1(), c.Informers.Storage().V1()
	for _, object := range objects {
		var informer clientcache.SharedIndexInformer
		switch o := object.(type) {
		case *v1.Node:
			c.Cache.AddNode(o)
			informer = core.Nodes().Informer()
		case *v1.Pod:
			if o.Spec.NodeName != "" {
				if err := c.Cache.AddPod(o); err != nil {
					t.Fatal(err)
				}
			}
			informer = core.Pods().Informer()
		case *v1.Namespace:
			informer = core.Namespaces().Informer()
		case *v1.Service:
			informer = core.Services().Informer()
		case *appsv1.ReplicaSet:
			informer = apps.ReplicaSets().Informer()
		case *policyv1.PodDisruptionBudget:
			informer = c.Informers.Policy().V1().PodDisruptionBudgets().Informer()
		case *v1.PersistentVolumeClaim:
			informer = core.PersistentVolumeClaims().Informer()
		case *v1.PersistentVolume:
			informer = core.PersistentVolumes().Informer()
		case *storagev1.StorageClass:
			informer = storage.StorageClasses().Informer()
		case *storagev1.CSINode:
			informer = storage.CSINodes().Informer()
		case *storagev1.CSIDriver:
			informer = storage.CSIDrivers().Informer()
		case *storagev1.CSIStorageCapacity:
			informer = storage.CSIStorageCapacities().Informer()
		case *storagev1.VolumeAttachment:
			informer = storage.VolumeAttachments().Informer()
		default:
			t.Fatalf("no place for a %T", object)
		}
		if err := informer.GetStore().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	c.Cache.UpdateSnapshot(c.Snapshot)
	return c
}

// SnapshotSharedLister returns the snapshot.
func (c *Cluster) SnapshotSharedLister() fwk.SharedLister { return c.Snapshot }

// ClientSet returns a client of an API server that has the cluster's objects.
func (c *Cluster) ClientSet() clientset.Interface { return c.Client }

// SharedInformerFactory returns informers that hold the cluster's objects; they are never started.
func (c *Cluster) SharedInformerFactory() informers.SharedInformerFactory { return c.Informers }

// Parallelizer runs everything in turn.
func (c *Cluster) Parallelizer() fwk.Parallelizer { return runtime.NewParallelizer(1) }

// Args makes a plugin's arguments from a fragment of YAML, defaulted.
func Args[T any, P interface {
	*T
	apiruntime.Object
}](t testing.TB, fragment string) P {
	t.Helper()
	args := P(new(T))
	if err := yaml.UnmarshalStrict([]byte("{"+fragment+"}"), args); err != nil {
		t.Fatal(err)
	}
	pluginargs.SetDefaults(args)
	return args
}
