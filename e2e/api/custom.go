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

// gadgetGroup is the group of the specs' custom resources.
const gadgetGroup = "e2e.plumbline.dev"

// gadgets is a custom resource with everything that a definition can have. Its names are
// each spec's own: kubectl explain goes by a resource's name and not by its group.
const gadgets = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgetsID.GROUP}, spec: {
  group: GROUP, scope: Namespaced, names: {kind: GadgetID, listKind: GadgetIDList, plural: gadgetsID, singular: gadgetID},
  versions: [{name: v1, served: true, storage: true,
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}},
    additionalPrinterColumns: [{name: Color, type: string, jsonPath: .spec.color}, {name: Replicas, type: integer, jsonPath: .spec.replicas}],
    schema: {openAPIV3Schema: {type: object, description: A gadget does something., properties: {
      spec: {type: object, required: [color], properties: {
        color: {type: string, enum: [red, blue], description: What it looks like.},
        replicas: {type: integer, minimum: 0, maximum: 10, default: 2}},
        x-kubernetes-validations: [{rule: "self.color != 'red' || self.replicas <= 3", message: red gadgets are few}]},
      status: {type: object, properties: {replicas: {type: integer}}}}}}}]}}`

// gadget is one custom resource.
type gadget struct {
	id string
	// resource is the plural name; with its group it is fullName.
	resource, fullName string
}

// object is a manifest of a gadget.
func (g gadget) object(name, spec string) string {
	return `{apiVersion: ` + gadgetGroup + `/v1, kind: Gadget` + g.id + `, metadata: {name: ` + name + `}, spec: ` + spec + `}`
}

// defineGadget makes the definition and waits until its kind is served and documented.
func defineGadget(ctx context.Context, s *suite.Suite) gadget {
	ginkgo.GinkgoHelper()
	id := rand.String(6)
	g := gadget{id: id, resource: "gadgets" + id, fullName: "gadgets" + id + "." + gadgetGroup}
	s.Kubectl(ctx, "create", "-f", manifest(strings.NewReplacer("ID", id, "GROUP", gadgetGroup).Replace(gadgets)))
	definition := &unstructured.Unstructured{}
	definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	definition.SetName(g.fullName)
	ginkgo.DeferCleanup(func(ctx context.Context) { s.Delete(ctx, definition, metav1.DeletePropagationBackground) })
	// Discovery and the documentation follow the definition in their own time.
	gomega.Eventually(ctx, func() (string, error) {
		_, stderr, err := s.TryKubectl(ctx, "explain", g.resource)
		return stderr, err
	}).WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.BeEmpty())
	return g
}

func customSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.custom.validation",
		Promise: "Custom objects are defaulted and validated by their definition's schema and its rules.",
		Source:  definitions + "#validation", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, kind := s.Namespace(ctx), defineGadget(ctx, s)
		for spec, message := range map[string]string{
			"{}":                              "spec.color: Required value",
			"{color: green}":                  `spec.color: Unsupported value: "green": supported values: "red", "blue"`,
			"{color: blue, replicas: 11}":     "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
			"{color: red, replicas: 4}":       "red gadgets are few",
			"{color: blue, weight: 4}":        `unknown field "spec.weight"`,
			`{color: blue, replicas: "many"}`: "spec.replicas in body must be of type integer",
		} {
			gomega.Expect(refused(ctx, s, namespace, kind.object("bad", spec))).To(gomega.ContainSubstring(message), spec)
		}
		s.Kubectl(ctx, "-n", namespace, "create", "-f", manifest(kind.object("good", "{color: red}")))
		gomega.Expect(s.Kubectl(ctx, "-n", namespace, "get", kind.fullName, "good", "-o", "jsonpath={.spec.replicas}")).To(gomega.Equal("2"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.custom.subresources",
		Promise: "A custom resource with status and scale keeps status apart from the rest, counts generations, and can be scaled.",
		Source:  definitions + "#subresources", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, kind := s.Namespace(ctx), defineGadget(ctx, s)
		s.Kubectl(ctx, "-n", namespace, "create", "-f", manifest(kind.object("one", "{color: blue}")))
		get := func(path string) string {
			ginkgo.GinkgoHelper()
			return s.Kubectl(ctx, "-n", namespace, "get", kind.fullName, "one", "-o", "jsonpath="+path)
		}
		patch := func(arguments ...string) {
			ginkgo.GinkgoHelper()
			s.Kubectl(ctx, append([]string{"-n", namespace, "patch", kind.fullName, "one", "--type=merge"}, arguments...)...)
		}
		patch("-p", `{"status":{"replicas":9}}`)
		gomega.Expect(get("{.status.replicas}")).To(gomega.BeEmpty(), "the main resource does not write status")
		patch("--subresource=status", "-p", `{"status":{"replicas":1},"spec":{"color":"red"}}`)
		gomega.Expect(get("{.status.replicas} {.spec.color} {.metadata.generation}")).To(gomega.Equal("1 blue 1"))
		s.Kubectl(ctx, "-n", namespace, "scale", kind.fullName+"/one", "--replicas=5")
		gomega.Expect(get("{.spec.replicas} {.metadata.generation}")).To(gomega.Equal("5 2"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.custom.columns-and-explain",
		Promise: "kubectl get shows a custom resource's columns, and kubectl explain its documentation.",
		Source:  definitions + "#additional-printer-columns", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, kind := s.Namespace(ctx), defineGadget(ctx, s)
		s.Kubectl(ctx, "-n", namespace, "create", "-f", manifest(kind.object("one", "{color: blue}")))
		gomega.Expect(strings.Fields(s.Kubectl(ctx, "-n", namespace, "get", kind.fullName))).
			To(gomega.Equal([]string{"NAME", "COLOR", "REPLICAS", "one", "blue", "2"}))
		gomega.Expect(s.Kubectl(ctx, "explain", kind.resource)).To(gomega.ContainSubstring("A gadget does something."))
		color := s.Kubectl(ctx, "explain", kind.resource+".spec.color")
		gomega.Expect(color).To(gomega.And(gomega.ContainSubstring("What it looks like."), gomega.MatchRegexp(`ENUM:\s+red\s+blue`)))
	})
}
