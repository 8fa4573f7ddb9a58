package apiserver

import (
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	crdlisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
)

// groupPriorities order the groups in discovery, which decides what kubectl takes a short name for. The
// figures are upstream's, since they can be seen in APIService objects.
func groupPriorities() map[string]int32 {
	return map[string]int32{
		"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
		"autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
		"rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700,
		"scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
		"flowcontrol.apiserver.k8s.io": 16100, "storagemigration.k8s.io": 15800,
	}
}

// versionPriority orders a group's versions.
func versionPriority(gv schema.GroupVersion) int32 {
	special := map[schema.GroupVersion]int32{
		{Version: "v1"}:                                        1,
		{Group: "autoscaling", Version: "v2"}:                  30,
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: 21,
		{Group: "resource.k8s.io", Version: "v1"}:              21,
	}
	if priority, ok := special[gv]; ok {
		return priority
	}
	if strings.Contains(gv.Version, "beta") {
		return 9
	}
	return 15
}

// Custom resources come after everything built in.
const customGroupPriority, customVersionPriority = 1000, 100

func apiService(gv schema.GroupVersion, group, version int32) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group},
		Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: group, VersionPriority: version},
	}
}

// registerAPIServices keeps an APIService object for each group version that this server serves itself.
// Readiness does not wait for them: local groups are routed and listed without.
func (s *server) registerAPIServices(front *aggregator.APIAggregator, core *genericapiserver.GenericAPIServer, custom *apiextensions.CustomResourceDefinitions) error {
	client, err := apiregistrationclient.NewForConfig(s.generic.LoopbackClientConfig)
	if err != nil {
		return err
	}
	registered := autoregister.NewAutoRegisterController(front.APIRegistrationInformers.Apiregistration().V1().APIServices(), client)
	priorities := groupPriorities()
	for _, path := range core.ListedPaths() {
		gv, ok := groupVersionOf(path)
		group, known := priorities[gv.Group]
		if !ok || !known {
			continue
		}
		s.generic.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(gv), int(group), int(versionPriority(gv)))
		registered.AddAPIServiceToSyncOnStart(apiService(gv, group, versionPriority(gv)))
	}
	crds := custom.Informers.Apiextensions().V1().CustomResourceDefinitions()
	follower := &customGroups{crds: crds.Lister(), services: registered}
	registration, err := crds.Informer().AddEventHandler(follower.handler())
	if err != nil {
		return err
	}
	return front.GenericAPIServer.AddPostStartHook("kube-apiserver-autoregistration", func(ctx genericapiserver.PostStartHookContext) error {
		go func() {
			// The services of custom groups must be known first, or they would be deleted as stale.
			if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
				registered.Run(5, ctx.Done())
			}
		}()
		return nil
	})
}

// groupVersionOf reads "/api/v1" and "/apis/GROUP/VERSION".
func groupVersionOf(path string) (schema.GroupVersion, bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, true
	case len(parts) == 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, true
	}
	return schema.GroupVersion{}, false
}

// customGroups keeps the APIServices of custom resources.
type customGroups struct {
	crds     crdlisters.CustomResourceDefinitionLister
	services autoregister.AutoAPIServiceRegistration
	lock     sync.Mutex
}

func (c *customGroups) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    c.sync,
		UpdateFunc: func(old, obj any) { c.sync(old); c.sync(obj) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			c.sync(obj)
		},
	}
}

// sync looks at each version that the definition has, and at all definitions of its group.
func (c *customGroups) sync(obj any) {
	crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	all, err := c.crds.List(labels.Everything())
	if err != nil {
		klog.ErrorS(err, "Custom resource definitions cannot be listed")
		return
	}
	for _, version := range crd.Spec.Versions {
		service := apiService(schema.GroupVersion{Group: crd.Spec.Group, Version: version.Name}, customGroupPriority, customVersionPriority)
		if served(all, crd.Spec.Group, version.Name) {
			c.services.AddAPIServiceToSync(service)
		} else {
			c.services.RemoveAPIServiceToSync(service.Name)
		}
	}
}

func served(crds []*apiextensionsv1.CustomResourceDefinition, group, version string) bool {
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			if crd.Spec.Group == group && v.Name == version && v.Served {
				return true
			}
		}
	}
	return false
}
