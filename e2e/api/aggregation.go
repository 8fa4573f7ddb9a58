package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func aggregationSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.aggregation",
		Promise: "A group that an APIService names is discovered and served by the server behind it, which is told who asks; without the server it is answered 503.",
		Source:  "https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		group := namespace + ".example.com"
		path := "/apis/" + group + "/v1"
		text := func(object any) string {
			data, err := json.Marshal(object)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			return string(data)
		}
		version := metav1.GroupVersionForDiscovery{GroupVersion: group + "/v1", Version: "v1"}
		authority := secureServer(ctx, s, namespace, map[string]string{
			"apis.json": text(metav1.APIGroupList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"},
				Groups:   []metav1.APIGroup{{Name: group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}},
			}),
			path[1:] + ".json": text(metav1.APIResourceList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: group + "/v1",
				APIResources: []metav1.APIResource{{Name: "widgets", SingularName: "widget", Kind: "Widget", Verbs: metav1.Verbs{"get", "list"}}},
			}),
			path[1:] + "/widgets.json": text(map[string]any{
				"apiVersion": group + "/v1", "kind": "WidgetList",
				"items": []any{map[string]any{"apiVersion": group + "/v1", "kind": "Widget", "metadata": map[string]any{"name": "one"}}},
			}),
		})
		service := &unstructured.Unstructured{}
		service.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"})
		service.SetName("v1." + group)
		service.Object["spec"] = map[string]any{
			"group": group, "version": "v1", "groupPriorityMinimum": int64(2000), "versionPriority": int64(100), "caBundle": base64.StdEncoding.EncodeToString(authority),
			"service": map[string]any{"namespace": namespace, "name": "secure", "port": int64(443)},
		}
		s.Create(ctx, service)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, service))).To(gomega.Succeed())
		})
		gomega.Expect(s.Watch.Until(ctx, service, expect.HaveCondition("Available", metav1.ConditionTrue))).To(gomega.Succeed())

		// Discovery is gathered from servers at intervals.
		gomega.Eventually(ctx, func() string { return s.Kubectl(ctx, "api-resources", "--api-group="+group, "-o", "name") }).
			WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Equal("widgets." + group + "\n"))
		gomega.Expect(s.Kubectl(ctx, "get", "widgets."+group, "-o", "name")).To(gomega.Equal("widget." + group + "/one\n"))

		told, err := request(ctx, s.Config, http.MethodGet, path+"/echo", nil)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(told.code).To(gomega.Equal(http.StatusOK), told.body)
		who, err := whoami(ctx, s.Config)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		var heard struct{ Headers map[string][]string }
		gomega.Expect(json.Unmarshal([]byte(told.body), &heard)).To(gomega.Succeed(), told.body)
		gomega.Expect(heard.Headers).To(gomega.HaveKeyWithValue("X-Remote-User", []string{who.Username}))
		gomega.Expect(heard.Headers["X-Remote-Group"]).To(gomega.ContainElement("system:masters"))
		gomega.Expect(heard.Headers).NotTo(gomega.HaveKey("Authorization"))

		// What stands in the way of the server is told in the condition, and to clients.
		pod := suite.Pod(namespace, "secure", suite.ServingContainer())
		s.Delete(ctx, pod, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, service, expect.HaveCondition("Available", metav1.ConditionFalse))).To(gomega.Succeed())
		gomega.Eventually(ctx, func() (int, error) {
			got, err := request(ctx, s.Config, http.MethodGet, path+"/widgets", nil)
			return got.code, err
		}).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal(http.StatusServiceUnavailable))
		s.Delete(ctx, service, metav1.DeletePropagationBackground)
		gomega.Eventually(ctx, func() (int, error) {
			got, err := request(ctx, s.Config, http.MethodGet, path, nil)
			return got.code, err
		}).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal(http.StatusNotFound))
		gomega.Expect(strings.Contains(s.Kubectl(ctx, "api-versions"), group)).To(gomega.BeFalse())
	})
}
