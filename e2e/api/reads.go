package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func readSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.list.pages",
		Promise: "A list in pages holds every object once, as all were when the first page was read.",
		Source:  concepts + "#retrieving-large-results-sets-in-chunks", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		const count, limit = 11, 4
		for i := range count {
			s.Create(ctx, configMap(namespace, fmt.Sprintf("page-%02d", i), map[string]string{"page": ""}))
		}
		maps := s.Clientset.CoreV1().ConfigMaps(namespace)
		options := metav1.ListOptions{Limit: limit}
		seen, version := map[string]int{}, ""
		for pages := 0; ; pages++ {
			gomega.Expect(pages).To(gomega.BeNumerically("<=", count))
			list, err := maps.List(ctx, options)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			gomega.Expect(len(list.Items)).To(gomega.BeNumerically("<=", limit))
			for _, item := range list.Items {
				seen[item.Name]++
			}
			if version == "" {
				version = list.ResourceVersion
				s.Create(ctx, configMap(namespace, "page-99", nil)) // after the first page, so in none
			}
			gomega.Expect(list.ResourceVersion).To(gomega.Equal(version))
			if list.Continue == "" {
				break
			}
			options.Continue = list.Continue
		}
		delete(seen, "kube-root-ca.crt") // the controller manager's, at some time or other
		gomega.Expect(seen).To(gomega.HaveLen(count))
		for name, times := range seen {
			gomega.Expect(times).To(gomega.Equal(1), name)
			gomega.Expect(name).NotTo(gomega.Equal("page-99"))
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.list.selectors",
		Promise: "Lists can be narrowed by labels, by sets of labels, and by the fields that a kind offers; another field is an error.",
		Source:  objects + "field-selectors/", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		for i, tier := range []string{"front", "front", "back"} {
			pod := idle(namespace, fmt.Sprintf("%s-%d", tier, i))
			pod.Labels = map[string]string{"tier": tier}
			s.Create(ctx, pod)
		}
		names := func(options metav1.ListOptions) []string {
			ginkgo.GinkgoHelper()
			list, err := s.Clientset.CoreV1().Pods(namespace).List(ctx, options)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			var names []string
			for _, pod := range list.Items {
				names = append(names, pod.Name)
			}
			return names
		}
		gomega.Expect(names(metav1.ListOptions{LabelSelector: "tier=front"})).To(gomega.ConsistOf("front-0", "front-1"))
		gomega.Expect(names(metav1.ListOptions{LabelSelector: "tier notin (front),tier"})).To(gomega.ConsistOf("back-2"))
		gomega.Expect(names(metav1.ListOptions{FieldSelector: "metadata.name!=front-0,status.phase=Pending"})).To(gomega.ConsistOf("front-1", "back-2"))
		gomega.Expect(names(metav1.ListOptions{FieldSelector: "spec.nodeName=nowhere"})).To(gomega.BeEmpty())
		_, err := s.Clientset.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.priority=1"})
		gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("field label not supported: spec.priority")))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.table",
		Promise: "The server renders lists as tables with a kind's columns for clients that ask for them.",
		Source:  concepts + "#receiving-resources-as-tables", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		s.Create(ctx, idle(namespace, "web"))
		body, err := s.Clientset.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		var table metav1.Table
		gomega.Expect(json.Unmarshal(body, &table)).To(gomega.Succeed())
		var columns []string
		for _, column := range table.ColumnDefinitions {
			if column.Priority == 0 {
				columns = append(columns, column.Name)
			}
		}
		gomega.Expect(columns).To(gomega.Equal([]string{"Name", "Ready", "Status", "Restarts", "Age"}))
		gomega.Expect(table.Rows).To(gomega.HaveLen(1))
		gomega.Expect(table.Rows[0].Cells[:3]).To(gomega.Equal([]any{"web", "0/1", "Pending"}))
		gomega.Expect(strings.Fields(s.Kubectl(ctx, "-n", namespace, "get", "pods", "--no-headers"))[:4]).
			To(gomega.Equal([]string{"web", "0/1", "Pending", "0"}))
	})
}

func watchSpecs(s *suite.Suite) {
	// next reads an event that is no bookmark, or one that is.
	next := func(ctx context.Context, w watch.Interface, bookmark bool) watch.Event {
		ginkgo.GinkgoHelper()
		// Changes are sent at once; bookmarks at latest once a minute.
		ctx, cancel := context.WithTimeout(ctx, expect.Scaled(expect.Long))
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				ginkgo.Fail("the watch sent nothing")
			case event, open := <-w.ResultChan():
				gomega.Expect(open).To(gomega.BeTrue(), "the watch ended")
				if (event.Type == watch.Bookmark) == bookmark {
					return event
				}
			}
		}
	}

	behaviour.It(behaviour.Behaviour{
		ID:      "api.watch.from-version",
		Promise: "A watch from a resource version gives every later change once and in order, including those before it began.",
		Source:  concepts + "#efficient-detection-of-changes", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		object := configMap(namespace, "watched", map[string]string{"n": "0"})
		s.Create(ctx, object)
		from := object.ResourceVersion
		for i := 1; i <= 3; i++ {
			object.Data["n"] = fmt.Sprint(i)
			gomega.Expect(s.Client.Update(ctx, object)).To(gomega.Succeed())
		}
		w, err := s.Clientset.CoreV1().ConfigMaps(namespace).Watch(ctx, metav1.ListOptions{
			ResourceVersion: from, FieldSelector: "metadata.name=watched",
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		defer w.Stop()
		for i := 1; i <= 3; i++ {
			event := next(ctx, w, false)
			gomega.Expect(event.Type).To(gomega.Equal(watch.Modified))
			gomega.Expect(event.Object.(*corev1.ConfigMap).Data["n"]).To(gomega.Equal(fmt.Sprint(i)))
		}
		s.Delete(ctx, object, metav1.DeletePropagationBackground)
		gomega.Expect(next(ctx, w, false).Type).To(gomega.Equal(watch.Deleted))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.watch.initial-events",
		Promise: "A watch that asks for its initial events gets every object, then a bookmark that says so, then changes.",
		Source:  concepts + "#streaming-lists", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		for _, name := range []string{"one", "two"} {
			object := configMap(namespace, name, nil)
			object.Labels = map[string]string{"mine": ""}
			s.Create(ctx, object)
		}
		yes := true
		w, err := s.Clientset.CoreV1().ConfigMaps(namespace).Watch(ctx, metav1.ListOptions{
			LabelSelector: "mine", SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		defer w.Stop()
		var names []string
		for range 2 {
			event := next(ctx, w, false)
			gomega.Expect(event.Type).To(gomega.Equal(watch.Added))
			names = append(names, event.Object.(client.Object).GetName())
		}
		gomega.Expect(names).To(gomega.ConsistOf("one", "two"))
		mark := next(ctx, w, true).Object.(client.Object)
		gomega.Expect(mark.GetAnnotations()).To(gomega.HaveKeyWithValue(metav1.InitialEventsAnnotationKey, "true"))
		gomega.Expect(mark.GetResourceVersion()).NotTo(gomega.BeEmpty())
	})
}
