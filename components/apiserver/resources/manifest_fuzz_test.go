package resources_test

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources"
	"github.com/plumbline/plumbline/fixtures/manifests"
)

// FuzzManifest sends what may be a manifest through all that happens to it before it is
// stored: decoding, defaults, preparation, validation, as a new object and as a change of
// itself. Whatever it is, the answer is an object or errors, never a panic.
func FuzzManifest(f *testing.F) {
	entries := resources.All()
	scheme, err := resource.NewScheme(entries)
	if err != nil {
		f.Fatal(err)
	}
	rules := map[schema.GroupKind]rest.RESTCreateUpdateStrategy{}
	for _, entry := range entries {
		if stored, ok := entry.(interface {
			Rules(runtime.ObjectTyper) rest.RESTCreateUpdateStrategy
		}); ok {
			id := entry.ID()
			rules[schema.GroupKind{Group: id.GroupVersion.Group, Kind: id.Kind}] = stored.Rules(scheme)
		}
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDecoder()

	f.Add(manifests.NginxDeployment())
	f.Add([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":70000}]}]}}`))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"type":"ExternalName","externalName":"a..b"}}`))
	f.Add([]byte(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"template":{"spec":{"restartPolicy":"Always"}}}}`))
	f.Add([]byte(`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"n"},"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"x"}}]}]}}`))
	f.Add([]byte(`{"apiVersion":"scheduling.k8s.io/v1beta1","kind":"Workload","metadata":{"name":"w"},"spec":{"podGroupTemplates":[{"name":"a","schedulingPolicy":{"gang":{"minCount":2}}}]}}`))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		decoded, kind, err := decoder.Decode(manifest, nil, nil)
		if err != nil || rules[kind.GroupKind()] == nil {
			return
		}
		object, err := scheme.UnsafeConvertToVersion(decoded, schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal})
		if err != nil {
			return
		}
		strategy, ctx := rules[kind.GroupKind()], context.Background()
		if meta, ok := object.(metav1.Object); ok {
			meta.SetManagedFields(nil)
		}
		strategy.PrepareForCreate(ctx, object)
		if errs := strategy.Validate(ctx, object); len(errs) > 0 {
			return
		}
		strategy.WarningsOnCreate(ctx, object)
		strategy.Canonicalize(object)
		changed := object.DeepCopyObject()
		strategy.PrepareForUpdate(ctx, changed, object)
		strategy.ValidateUpdate(ctx, changed, object)
	})
}
