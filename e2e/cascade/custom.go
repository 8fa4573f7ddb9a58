package cascade

import (
	"context"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func replicaSetList() client.ObjectList { return &appsv1.ReplicaSetList{} }

func deploymentList() client.ObjectList { return &appsv1.DeploymentList{} }

func priorityClass() *schedulingv1.PriorityClass {
	return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Value: 1}
}

const customSource = "https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/"

func customSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.custom-resources",
		Promise: "Custom resources own and are owned like built-in ones, from the moment their kind is served.",
		Source:  customSource, Judges: []string{"kube-controller-manager", "kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		widgets := newKind(ctx, s)
		root := configMap(namespace, "root")
		s.Create(ctx, root)
		widget, leaf := widgets.withLeaf(ctx, s, namespace, "widget", owner(root))
		s.Delete(ctx, root, metav1.DeletePropagationBackground)
		// The collector learns of new kinds by looking from time to time.
		gomega.Expect(s.Watch.Within(expect.Long).Gone(ctx, leaf)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Gone(ctx, widget)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.custom-resource-definition",
		Promise: "Deleting a CustomResourceDefinition deletes its objects, and what they owned is collected at the latest when their kind is served again.",
		Source:  customSource + "#delete-a-customresourcedefinition", Judges: []string{"kube-apiserver", "kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		widgets := newKind(ctx, s)
		widget, leaf := widgets.withLeaf(ctx, s, namespace, "widget")
		exists(ctx, s, widget)
		exists(ctx, s, leaf)
		s.Delete(ctx, widgets.definition, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, widgets.definition)).To(gomega.Succeed())
		// Whether the collector sees the objects go depends on whether it had met their kind, and
		// on a watch that ends with it. While nothing serves the kind, nobody can tell whether an
		// owner is gone.
		again := define(ctx, s, widgets.gvk.Group)
		gomega.Expect(apierrors.IsNotFound(s.Client.Get(ctx, client.ObjectKeyFromObject(widget), again.object(namespace, "widget")))).To(gomega.BeTrue())
		// The collector learns of new kinds by looking from time to time.
		gomega.Expect(s.Watch.Within(expect.Long).Gone(ctx, leaf)).To(gomega.Succeed())
	})
}

// kind is a custom resource of the spec's own.
type kind struct {
	definition *unstructured.Unstructured
	gvk        schema.GroupVersionKind
}

func (k kind) object(namespace, name string, owners ...metav1.OwnerReference) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(k.gvk)
	object.SetNamespace(namespace)
	object.SetName(name)
	object.SetOwnerReferences(owners)
	return object
}

// withLeaf creates an object of the kind, and a ConfigMap that it owns.
func (k kind) withLeaf(ctx context.Context, s *suite.Suite, namespace, name string, owners ...metav1.OwnerReference) (*unstructured.Unstructured, *corev1.ConfigMap) {
	ginkgo.GinkgoHelper()
	object := k.object(namespace, name, owners...)
	s.Create(ctx, object)
	leaf := configMap(namespace, name+"-leaf", metav1.OwnerReference{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Name: object.GetName(), UID: object.GetUID(),
	})
	s.Create(ctx, leaf)
	return object, leaf
}

// newKind defines a custom resource in a group of its own.
func newKind(ctx context.Context, s *suite.Suite) kind {
	ginkgo.GinkgoHelper()
	return define(ctx, s, "e2e-"+strings.ToLower(rand.String(6))+".plumbline.dev")
}

// define defines a custom resource in a group and waits until it is served.
func define(ctx context.Context, s *suite.Suite, group string) kind {
	ginkgo.GinkgoHelper()
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata":   map[string]any{"name": "widgets." + group},
		"spec": map[string]any{
			"group": group,
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
			"scope": "Namespaced",
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}
	s.Create(ctx, definition)
	ginkgo.DeferCleanup(func(ctx context.Context) {
		gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, definition))).To(gomega.Succeed())
	})
	gomega.Expect(s.Watch.Until(ctx, definition, expect.HaveCondition("Established", metav1.ConditionTrue))).To(gomega.Succeed())
	gvk := schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Widget"}
	served := &unstructured.UnstructuredList{}
	served.SetGroupVersionKind(gvk.GroupVersion().WithKind("WidgetList"))
	gomega.Eventually(ctx, func() error { return s.Client.List(ctx, served, client.Limit(1)) }).
		WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Succeed()) // established is told a moment before every API server serves it
	return kind{definition: definition, gvk: gvk}
}
