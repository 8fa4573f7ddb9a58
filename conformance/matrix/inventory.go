package matrix

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Inventory is every object that an API server has, by resource, namespace and name:
// all of it but what its keepers write from time to time.
type Inventory map[string]map[string]any

// volatile says of resources that their objects come and go, or change, by themselves,
// or are what an API server says of itself rather than what it keeps.
func volatile(r schema.GroupResource) bool {
	switch r.String() {
	case "events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses", "apiservices.apiregistration.k8s.io":
		return true
	}
	return false
}

// Take makes an inventory of a cluster through its API.
func Take(ctx context.Context, config *rest.Config) (Inventory, error) {
	served, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	lists, err := discovery.ServerPreferredResources(served)
	if err != nil {
		return nil, fmt.Errorf("what is served: %w", err)
	}
	inventory := Inventory{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			at := version.WithResource(resource.Name)
			if !slices.Contains(resource.Verbs, "list") || volatile(at.GroupResource()) {
				continue
			}
			objects, err := client.Resource(at).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", at.GroupResource(), err)
			}
			for i := range objects.Items {
				inventory.add(at.GroupResource(), &objects.Items[i])
			}
		}
	}
	return inventory, nil
}

// ownAddress is what each API server says of where it is while it serves.
const ownAddress = metav1.NamespaceDefault + "/kubernetes"

// add notes what of an object is its author's: not its status, which controllers go on
// writing, nor the version and the managers, which change with that.
func (inv Inventory) add(resource schema.GroupResource, object *unstructured.Unstructured) {
	if object.GetNamespace()+"/"+object.GetName() == ownAddress && resource.Resource != "services" {
		return
	}
	content := maps.Clone(object.Object)
	delete(content, "status")
	content["metadata"] = map[string]any{
		"uid": string(object.GetUID()), "labels": object.GetLabels(), "ownerReferences": object.GetOwnerReferences(), "finalizers": object.GetFinalizers(),
	}
	inv[fmt.Sprintf("%s %s/%s", resource, object.GetNamespace(), object.GetName())] = content
}

// Lost says what of an inventory a later one does not have, or has otherwise.
func (inv Inventory) Lost(later Inventory) []string {
	var lost []string
	for _, name := range slices.Sorted(maps.Keys(inv)) {
		now, there := later[name]
		if !there {
			lost = append(lost, name+" is gone")
		} else if difference := cmp.Diff(inv[name], now); difference != "" {
			lost = append(lost, name+" changed:\n"+difference)
		}
	}
	return lost
}
