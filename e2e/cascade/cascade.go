// Package cascade holds the specs of cascading deletion: what becomes of dependents as
// owners go, in which order, for built-in and custom resources alike.
package cascade

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const garbageCollection = "https://kubernetes.io/docs/concepts/architecture/garbage-collection/"

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("cascade", func() {
		policySpecs(s)
		ownerSpecs(s)
		customSpecs(s)
	})
}

// configMap is an object that nothing but the garbage collector acts upon.
func configMap(namespace, name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, OwnerReferences: owners}}
}

// owner refers to a ConfigMap.
func owner(object client.Object) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: object.GetName(), UID: object.GetUID()}
}

func blocking(reference metav1.OwnerReference) metav1.OwnerReference {
	reference.BlockOwnerDeletion = ptr.To(true)
	return reference
}

// deletions are the names of ConfigMaps in the order in which they went.
func deletions(ctx context.Context, history *expect.History) []string {
	ginkgo.GinkgoHelper()
	gomega.Expect(history.CatchUp(ctx)).To(gomega.Succeed())
	gomega.Expect(history.Err()).NotTo(gomega.HaveOccurred())
	var names []string
	for _, change := range history.Changes() {
		if change.Type == watch.Deleted {
			names = append(names, change.Object.GetName())
		}
	}
	return names
}

func record(ctx context.Context, s *suite.Suite, namespace string) *expect.History {
	ginkgo.GinkgoHelper()
	history, err := s.Watch.Record(ctx, expect.Source{List: &corev1.ConfigMapList{}, Options: []client.ListOption{client.InNamespace(namespace)}})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(history.Close)
	return history
}

// settled proves that the garbage collector has dealt with everything up to now: an owner
// and its dependent that are made and deleted now have gone. The collector works its
// queue in order but for retries, so what was to go before has gone.
func settled(ctx context.Context, s *suite.Suite, namespace string) {
	ginkgo.GinkgoHelper()
	for round := range 2 {
		parent := configMap(namespace, fmt.Sprintf("settle-%d", round))
		s.Create(ctx, parent)
		child := configMap(namespace, fmt.Sprintf("settle-%d-child", round), owner(parent))
		s.Create(ctx, child)
		s.Delete(ctx, parent, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, child)).To(gomega.Succeed())
	}
}

func exists(ctx context.Context, s *suite.Suite, object client.Object) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(gomega.Succeed())
	gomega.Expect(object.GetDeletionTimestamp()).To(gomega.BeNil(), "%s is being deleted", object.GetName())
}

func policySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.background",
		Promise: "In background deletion the owner goes at once and its dependents, and theirs, afterwards.",
		Source:  garbageCollection + "#background-deletion", Judges: []string{"kube-controller-manager", "kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		history := record(ctx, s, namespace)
		parent := configMap(namespace, "owner")
		s.Create(ctx, parent)
		child := configMap(namespace, "child", owner(parent))
		s.Create(ctx, child)
		grandchild := configMap(namespace, "grandchild", owner(child))
		s.Create(ctx, grandchild)
		s.Delete(ctx, parent, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, grandchild)).To(gomega.Succeed())
		gomega.Expect(deletions(ctx, history)).To(gomega.HaveExactElements("owner", "child", "grandchild"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.foreground",
		Promise: "In foreground deletion the owner stays, marked as deleted, until every dependent that blocks its deletion has gone.",
		Source:  garbageCollection + "#foreground-deletion", Judges: []string{"kube-controller-manager", "kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		history := record(ctx, s, namespace)
		parent := configMap(namespace, "owner")
		s.Create(ctx, parent)
		child := configMap(namespace, "child", blocking(owner(parent)))
		child.Finalizers = []string{"plumbline.dev/hold"}
		s.Create(ctx, child)
		free := configMap(namespace, "free", owner(parent))
		free.Finalizers = []string{"plumbline.dev/hold"}
		s.Create(ctx, free)

		s.Delete(ctx, parent, metav1.DeletePropagationForeground)
		gomega.Expect(s.Watch.Until(ctx, child, expect.BeTerminating())).To(gomega.Succeed())
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(parent), parent)).To(gomega.Succeed(), "the owner went before the dependent that blocks it")
		gomega.Expect(parent.DeletionTimestamp).NotTo(gomega.BeNil())
		gomega.Expect(parent.Finalizers).To(gomega.ContainElement(metav1.FinalizerDeleteDependents))
		suite.Patch(ctx, s, child, func(c *corev1.ConfigMap) { c.Finalizers = nil })
		// The one that does not block is still held, and the owner goes all the same.
		gomega.Expect(s.Watch.Gone(ctx, parent)).To(gomega.Succeed())
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(free), free)).To(gomega.Succeed())
		suite.Patch(ctx, s, free, func(c *corev1.ConfigMap) { c.Finalizers = nil })
		gomega.Expect(s.Watch.Gone(ctx, free)).To(gomega.Succeed())
		gomega.Expect(deletions(ctx, history)).To(gomega.HaveExactElements("child", "owner", "free"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.orphan",
		Promise: "With the policy Orphan the dependents stay, without a reference to the owner that went.",
		Source:  garbageCollection + "#orphaned-dependents", Judges: []string{"kube-controller-manager", "kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		parent := configMap(namespace, "owner")
		s.Create(ctx, parent)
		var children []*corev1.ConfigMap
		for i := range 3 {
			child := configMap(namespace, fmt.Sprintf("child-%d", i), blocking(owner(parent)))
			s.Create(ctx, child)
			children = append(children, child)
		}
		s.Delete(ctx, parent, metav1.DeletePropagationOrphan)
		gomega.Expect(s.Watch.Gone(ctx, parent)).To(gomega.Succeed())
		settled(ctx, s, namespace)
		for _, child := range children {
			exists(ctx, s, child)
			gomega.Expect(child.OwnerReferences).To(gomega.BeEmpty(), child.Name)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.deployment",
		Promise: "Deleting a Deployment in the foreground deletes its pods, then its ReplicaSets, then itself.",
		Source:  garbageCollection + "#foreground-deletion", Judges: []string{"kube-controller-manager", "kubelet"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		deployment := suite.Deployment(namespace, "web", 2, suite.AgentContainer("pause"))
		s.CreateRolledOut(ctx, deployment)
		history, err := s.Watch.Record(ctx,
			expect.Source{List: &corev1.PodList{}, Options: []client.ListOption{client.InNamespace(namespace)}},
			expect.Source{List: replicaSetList(), Options: []client.ListOption{client.InNamespace(namespace)}},
			expect.Source{List: deploymentList(), Options: []client.ListOption{client.InNamespace(namespace)}},
		)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		ginkgo.DeferCleanup(history.Close)
		s.Delete(ctx, deployment, metav1.DeletePropagationForeground)
		gomega.Expect(s.Watch.Gone(ctx, deployment)).To(gomega.Succeed())
		gomega.Expect(history.CatchUp(ctx)).To(gomega.Succeed())
		var order []string
		for _, change := range history.Changes() {
			if change.Type == watch.Deleted {
				order = append(order, fmt.Sprintf("%T", change.Object))
			}
		}
		gomega.Expect(order).To(gomega.Equal([]string{"*v1.Pod", "*v1.Pod", "*v1.ReplicaSet", "*v1.Deployment"}))
	})
}

func ownerSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.owners.two",
		Promise: "An object with two owners stays until both have gone, and loses its reference to the one that goes first.",
		Source:  "https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		first, second := configMap(namespace, "first"), configMap(namespace, "second")
		s.Create(ctx, first, second)
		child := configMap(namespace, "child", owner(first), owner(second))
		s.Create(ctx, child)
		s.Delete(ctx, first, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, child, expect.Satisfy("refer to the second owner alone", func(c *corev1.ConfigMap) string {
			if len(c.OwnerReferences) != 1 || c.OwnerReferences[0].UID != second.UID {
				return fmt.Sprint(c.OwnerReferences)
			}
			return ""
		}))).To(gomega.Succeed())
		exists(ctx, s, child)
		s.Delete(ctx, second, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, child)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.owners.two-foreground",
		Promise: "An object with a second owner that is to stay is not deleted by the first one's deletion in the foreground, and does not block it.",
		Source:  garbageCollection, Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		first, second := configMap(namespace, "first"), configMap(namespace, "second")
		s.Create(ctx, first, second)
		child := configMap(namespace, "child", blocking(owner(first)), owner(second))
		s.Create(ctx, child)
		s.Delete(ctx, first, metav1.DeletePropagationForeground)
		gomega.Expect(s.Watch.Gone(ctx, first)).To(gomega.Succeed())
		settled(ctx, s, namespace)
		exists(ctx, s, child)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.owners.absent",
		Promise: "An object whose only owner does not exist is deleted; a name that belongs to another object by now is no owner.",
		Source:  "https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nobody := configMap(namespace, "nobody")
		nobody.UID = types.UID("00000000-0000-4000-8000-000000000000")
		child := configMap(namespace, "child", owner(nobody))
		s.Create(ctx, child)
		gomega.Expect(s.Watch.Gone(ctx, child)).To(gomega.Succeed())

		successor := configMap(namespace, "successor")
		s.Create(ctx, successor)
		reference := owner(successor)
		reference.UID = nobody.UID
		heir := configMap(namespace, "heir", reference)
		s.Create(ctx, heir)
		gomega.Expect(s.Watch.Gone(ctx, heir)).To(gomega.Succeed())
		exists(ctx, s, successor)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.owners.cross-namespace",
		Promise: "An owner in another namespace is no owner: the dependent is deleted, and an event OwnerRefInvalidNamespace says why.",
		Source:  "https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/#owner-references-in-object-specifications", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		here, there := s.Namespace(ctx), s.Namespace(ctx)
		parent := configMap(there, "owner")
		s.Create(ctx, parent)
		child := configMap(here, "child", owner(parent))
		s.Create(ctx, child)
		gomega.Expect(s.Watch.UntilList(ctx, &eventsv1.EventList{}, expect.Satisfy("tell of the reference", func(list *eventsv1.EventList) string {
			for _, event := range list.Items {
				if event.Reason == "OwnerRefInvalidNamespace" && event.Regarding.Name == "child" && event.Type == corev1.EventTypeWarning {
					return ""
				}
			}
			return fmt.Sprintf("%d other events", len(list.Items))
		}), client.InNamespace(here))).To(gomega.Succeed())
		gomega.Expect(s.Watch.Gone(ctx, child)).To(gomega.Succeed())
		exists(ctx, s, parent)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.owners.cycle",
		Promise: "Objects that own each other in a circle are all deleted when one of them is, in the background and in the foreground.",
		Source:  garbageCollection, Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
			namespace := s.Namespace(ctx)
			a, b, c := configMap(namespace, "a"), configMap(namespace, "b"), configMap(namespace, "c")
			s.Create(ctx, a, b, c)
			for dependent, o := range map[*corev1.ConfigMap]*corev1.ConfigMap{a: c, b: a, c: b} {
				suite.Patch(ctx, s, dependent, func(m *corev1.ConfigMap) { m.OwnerReferences = []metav1.OwnerReference{blocking(owner(o))} })
			}
			s.Delete(ctx, a, policy)
			for _, object := range []*corev1.ConfigMap{a, b, c} {
				gomega.Expect(s.Watch.Gone(ctx, object)).To(gomega.Succeed(), "%s, %s", object.Name, policy)
			}
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.owners.late-dependent",
		Promise: "A dependent that appears after its owner's deletion began in the foreground is deleted too, before the owner goes.",
		Source:  garbageCollection + "#foreground-deletion", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		history := record(ctx, s, namespace)
		parent := configMap(namespace, "owner")
		s.Create(ctx, parent)
		holder := configMap(namespace, "holder", blocking(owner(parent)))
		holder.Finalizers = []string{"plumbline.dev/hold"}
		s.Create(ctx, holder)
		s.Delete(ctx, parent, metav1.DeletePropagationForeground)
		gomega.Expect(s.Watch.Until(ctx, holder, expect.BeTerminating())).To(gomega.Succeed())
		late := configMap(namespace, "late", blocking(owner(parent)))
		s.Create(ctx, late)
		// When the late one goes is the collector's choice: at once, or when it next looks at the owner.
		suite.Patch(ctx, s, holder, func(c *corev1.ConfigMap) { c.Finalizers = nil })
		gomega.Expect(s.Watch.Gone(ctx, parent)).To(gomega.Succeed())
		gomega.Expect(deletions(ctx, history)).To(gomega.Or(
			gomega.HaveExactElements("late", "holder", "owner"), gomega.HaveExactElements("holder", "late", "owner")))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "cascade.owners.cluster-scoped",
		Promise: "An object in a namespace may have a cluster-scoped owner and goes with it.",
		Source:  "https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/", Judges: []string{"kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		class := priorityClass()
		s.Create(ctx, class)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, class))).To(gomega.Succeed())
		})
		child := configMap(namespace, "child", metav1.OwnerReference{
			APIVersion: "scheduling.k8s.io/v1", Kind: "PriorityClass", Name: class.Name, UID: class.UID,
		})
		s.Create(ctx, child)
		s.Delete(ctx, class, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, child)).To(gomega.Succeed())
	})
}
