package resources_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources"
	"github.com/plumbline/plumbline/fixtures/manifests"
)

// rulesByKind are the rules of every kind that is stored, and the scheme that they are of.
func rulesByKind(f *testing.F) (*runtime.Scheme, map[schema.GroupKind]rest.RESTCreateUpdateStrategy) {
	f.Helper()
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
	return scheme, rules
}

// FuzzManifest sends what may be a manifest through all that happens to it before it is
// stored: decoding, defaults, preparation, validation, as a new object and as a change of
// itself. Whatever it is, the answer is an object or errors, never a panic.
func FuzzManifest(f *testing.F) {
	scheme, rules := rulesByKind(f)
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

// FuzzServiceNames makes Services with any names. What is accepted becomes names and answers
// of the cluster's DNS, so each must be one that DNS can carry.
func FuzzServiceNames(f *testing.F) {
	_, rules := rulesByKind(f)
	strategy, ctx := rules[schema.GroupKind{Kind: "Service"}], context.Background()
	accepted := func(service *corev1.Service) bool {
		strategy.PrepareForCreate(ctx, service)
		if errs := strategy.Validate(ctx, service); len(errs) > 0 {
			return false
		}
		strategy.WarningsOnCreate(ctx, service)
		strategy.Canonicalize(service)
		return true
	}
	if !accepted(clusterService("web", "http", "203.0.113.1")) || !accepted(externalService("db", "db.example.com.")) {
		f.Fatal("nothing is accepted")
	}
	f.Add("web", "db.example.com", "http", "203.0.113.1")
	f.Add("1web", "db.example.com.", "", "2001:db8::1")
	f.Add("a.b", "..", "A", "127.0.0.1")
	f.Add("", "-a.example", "a--b", "::ffff:10.0.0.1")
	f.Fuzz(func(t *testing.T, name, external, port, ip string) {
		label := func(text string) {
			if problems := validation.IsDNS1123Label(text); len(problems) > 0 {
				t.Errorf("%q was accepted: %s", text, problems)
			}
		}
		if accepted(clusterService(name, port, ip)) {
			label(name)
			if port != "" {
				label(port)
			}
			if _, err := netip.ParseAddr(ip); err != nil {
				t.Errorf("the external address %q was accepted: %v", ip, err)
			}
		}
		if accepted(externalService(name, external)) {
			label(name)
			if problems := validation.IsDNS1123Subdomain(strings.TrimSuffix(external, ".")); len(problems) > 0 {
				t.Errorf("the external name %q was accepted: %s", external, problems)
			}
		}
	})
}

func clusterService(name, port, externalIP string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, SessionAffinity: corev1.ServiceAffinityNone, ExternalIPs: []string{externalIP},
		InternalTrafficPolicy: ptr.To(corev1.ServiceInternalTrafficPolicyCluster), ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
		Ports: []corev1.ServicePort{{Name: port, Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
	}}
}

func externalService(name, external string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeExternalName, SessionAffinity: corev1.ServiceAffinityNone, ExternalName: external,
	}}
}
