package api

import (
	"context"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// gadgets is a custom resource with everything that a definition can have, in a group of
// the spec's own.
const gadgets = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.GROUP}, spec: {
  group: GROUP, scope: Namespaced, names: {kind: Gadget, listKind: GadgetList, plural: gadgets, singular: gadget, shortNames: [gg]},
  versions: [{name: v1, served: true, storage: true,
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}},
    additionalPrinterColumns: [{name: Color, type: string, jsonPath: .spec.color}, {name: Replicas, type: integer, jsonPath: .spec.replicas}],
    schema: {openAPIV3Schema: {type: object, description: A gadget does something., properties: {
      spec: {type: object, required: [color], properties: {
        color: {type: string, enum: [red, blue], description: What it looks like.},
        replicas: {type: integer, minimum: 0, maximum: 10, default: 2}},
        x-kubernetes-validations: [{rule: "self.color != 'red' || self.replicas <= 3", message: red gadgets are few}]},
      status: {type: object, properties: {replicas: {type: integer}}}}}}}]}}`

// defineGadgets makes the definition and waits until its kind is served; it returns the
// resource's full name.
func defineGadgets(ctx context.Context, s *suite.Suite) string {
	ginkgo.GinkgoHelper()
	group := rand.String(6) + ".plumbline.dev"
	s.Kubectl(ctx, "create", "-f", manifest(strings.ReplaceAll(gadgets, "GROUP", group)))
	definition := &unstructured.Unstructured{}
	definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	definition.SetName("gadgets." + group)
	ginkgo.DeferCleanup(func(ctx context.Context) { s.Delete(ctx, definition, metav1.DeletePropagationBackground) })
	// Discovery and the documentation follow the definition in their own time.
	gomega.Eventually(ctx, func() error {
		_, _, err := s.TryKubectl(ctx, "explain", "gadgets."+group)
		return err
	}).WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Succeed())
	return "gadgets." + group
}

func customSpecs(s *suite.Suite) {
	gadget := func(resource, name, spec string) string {
		group := strings.TrimPrefix(resource, "gadgets.")
		return `{apiVersion: ` + group + `/v1, kind: Gadget, metadata: {name: ` + name + `}, spec: ` + spec + `}`
	}

	behaviour.It(behaviour.Behaviour{
		ID:      "api.custom.validation",
		Promise: "Custom objects are defaulted and validated by their definition's schema and its rules.",
		Source:  definitions + "#validation", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, resource := s.Namespace(ctx), defineGadgets(ctx, s)
		for spec, message := range map[string]string{
			"{}":                              "spec.color: Required value",
			"{color: green}":                  `spec.color: Unsupported value: "green": supported values: "red", "blue"`,
			"{color: blue, replicas: 11}":     "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
			"{color: red, replicas: 4}":       "red gadgets are few",
			"{color: blue, weight: 4}":        `unknown field "spec.weight"`,
			`{color: blue, replicas: "many"}`: "spec.replicas in body must be of type integer",
		} {
			gomega.Expect(refused(ctx, s, namespace, gadget(resource, "bad", spec))).To(gomega.ContainSubstring(message), spec)
		}
		s.Kubectl(ctx, "-n", namespace, "create", "-f", manifest(gadget(resource, "good", "{color: red}")))
		gomega.Expect(s.Kubectl(ctx, "-n", namespace, "get", resource, "good", "-o", "jsonpath={.spec.replicas}")).To(gomega.Equal("2"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.custom.subresources",
		Promise: "A custom resource with status and scale keeps status apart from the rest, counts generations, and can be scaled.",
		Source:  definitions + "#subresources", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, resource := s.Namespace(ctx), defineGadgets(ctx, s)
		s.Kubectl(ctx, "-n", namespace, "create", "-f", manifest(gadget(resource, "one", "{color: blue}")))
		get := func(path string) string {
			ginkgo.GinkgoHelper()
			return s.Kubectl(ctx, "-n", namespace, "get", resource, "one", "-o", "jsonpath="+path)
		}
		patch := func(arguments ...string) {
			ginkgo.GinkgoHelper()
			s.Kubectl(ctx, append([]string{"-n", namespace, "patch", resource, "one", "--type=merge"}, arguments...)...)
		}
		patch("-p", `{"status":{"replicas":9}}`)
		gomega.Expect(get("{.status.replicas}")).To(gomega.BeEmpty(), "the main resource does not write status")
		patch("--subresource=status", "-p", `{"status":{"replicas":1},"spec":{"color":"red"}}`)
		gomega.Expect(get("{.status.replicas} {.spec.color} {.metadata.generation}")).To(gomega.Equal("1 blue 1"))
		s.Kubectl(ctx, "-n", namespace, "scale", resource+"/one", "--replicas=5")
		gomega.Expect(get("{.spec.replicas} {.metadata.generation}")).To(gomega.Equal("5 2"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.custom.columns-and-explain",
		Promise: "kubectl get shows a custom resource's columns, and kubectl explain its documentation.",
		Source:  definitions + "#additional-printer-columns", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, resource := s.Namespace(ctx), defineGadgets(ctx, s)
		s.Kubectl(ctx, "-n", namespace, "create", "-f", manifest(gadget(resource, "one", "{color: blue}")))
		gomega.Expect(strings.Fields(s.Kubectl(ctx, "-n", namespace, "get", resource))).
			To(gomega.Equal([]string{"NAME", "COLOR", "REPLICAS", "one", "blue", "2"}))
		gomega.Expect(s.Kubectl(ctx, "explain", resource)).To(gomega.ContainSubstring("A gadget does something."))
		color := s.Kubectl(ctx, "explain", resource+".spec.color")
		gomega.Expect(color).To(gomega.And(gomega.ContainSubstring("What it looks like."), gomega.MatchRegexp(`ENUM:\s+red\s+blue`)))
	})
}
