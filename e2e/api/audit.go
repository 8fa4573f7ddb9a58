package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/own"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
)

// auditPolicy records what is written to config maps whole, secrets by name alone and who asked for pods; nothing
// when it is received.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  namespaces: [%[1]s]
  verbs: [create, update, delete]
  resources: [{group: "", resources: [configmaps]}]
- level: Metadata
  namespaces: [%[1]s]
  resources: [{group: "", resources: [secrets]}]
- level: Request
  namespaces: [%[1]s]
  resources: [{group: "", resources: [pods]}]
- level: None
`

// auditEvent is as much of an event as is judged.
type auditEvent struct {
	Level          string
	Stage          string
	Verb           string
	User           struct{ Username string }
	Impersonated   *struct{ Username string } `json:"impersonatedUser"`
	ObjectRef      struct{ Resource, Namespace, Name string }
	ResponseStatus struct{ Code int }
	RequestObject  *runtime.Unknown
	ResponseObject *runtime.Unknown
	Annotations    map[string]string
}

func auditSpecs(under *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.audit",
		Promise: "The audit log has each request at the level of the first rule of the policy that matches, and no stage that is left out.",
		Source:  "https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/", Judges: judged(),
	}, ginkgo.Serial, ginkgo.Label(own.Label), func(ctx context.Context) {
		const namespace, policy, log = "audited", "/etc/kubernetes/audit-policy.yaml", "/var/log/audit.log"
		description := own.Describe("audit", 0)
		description.Spec.ControlPlane.Files = map[string]string{policy: fmt.Sprintf(auditPolicy, namespace)}
		description.Spec.Components = map[string]v1alpha1.Component{cluster.APIServer: {Args: []string{"--audit-policy-file=" + policy, "--audit-log-path=" + log}}}
		s, c := own.Boot(ctx, under, description)

		s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
			configMap(namespace, "open", map[string]string{"word": "plain"}),
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "closed"}, StringData: map[string]string{"word": "sesame"}})
		var read corev1.ConfigMapList
		gomega.Expect(s.Client.List(ctx, &read)).To(gomega.Succeed())
		config := rest.CopyConfig(s.Config)
		config.Impersonate = rest.ImpersonationConfig{UserName: "plumbline-stranger"}
		stranger, err := kubernetes.NewForConfig(config)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = stranger.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		gomega.Expect(err).To(beForbidden("plumbline-stranger"))

		find := func(events []auditEvent, verb, resource, name string) []auditEvent {
			var found []auditEvent
			for _, e := range events {
				if e.Verb == verb && e.ObjectRef.Resource == resource && e.ObjectRef.Name == name {
					found = append(found, e)
				}
			}
			return found
		}
		// The log is a file, and the refused request is the last of those that are looked for.
		var events []auditEvent
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			content, err := os.ReadFile(c.Machine(v1alpha1.ControlPlaneName).HostPath(log))
			g.Expect(err).NotTo(gomega.HaveOccurred())
			events = nil
			for line := range strings.Lines(string(content)) {
				var event auditEvent
				g.Expect(json.Unmarshal([]byte(line), &event)).To(gomega.Succeed(), line)
				events = append(events, event)
			}
			g.Expect(find(events, "list", "pods", "")).NotTo(gomega.BeEmpty())
			g.Expect(bytes.Contains(content, []byte("c2VzYW1l"))).To(gomega.BeFalse(), "the secret is in the log")
		}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Succeed())
		gomega.Expect(events).To(gomega.HaveEach(gomega.HaveField("Stage", gomega.Not(gomega.Equal("RequestReceived")))))

		whole := find(events, "create", "configmaps", "open")
		gomega.Expect(whole).To(gomega.HaveLen(1))
		gomega.Expect(whole[0].Level).To(gomega.Equal("RequestResponse"))
		gomega.Expect(whole[0].ResponseStatus.Code).To(gomega.Equal(201))
		gomega.Expect(string(whole[0].RequestObject.Raw)).To(gomega.ContainSubstring(`"word":"plain"`))
		gomega.Expect(string(whole[0].ResponseObject.Raw)).To(gomega.ContainSubstring(`"uid"`))
		gomega.Expect(whole[0].Annotations).To(gomega.HaveKeyWithValue("authorization.k8s.io/decision", "allow"))

		named := find(events, "create", "secrets", "closed")
		gomega.Expect(named).To(gomega.HaveLen(1))
		gomega.Expect(named[0].Level).To(gomega.Equal("Metadata"))
		gomega.Expect(named[0].RequestObject).To(gomega.BeNil())

		gomega.Expect(find(events, "list", "configmaps", "")).To(gomega.BeEmpty(), "no rule asks for it")
		refused := find(events, "list", "pods", "")
		gomega.Expect(refused).To(gomega.HaveLen(1))
		gomega.Expect(refused[0].ResponseStatus.Code).To(gomega.Equal(403))
		gomega.Expect(refused[0].Impersonated.Username).To(gomega.Equal("plumbline-stranger"))
		gomega.Expect(refused[0].User.Username).NotTo(gomega.Equal("plumbline-stranger"))
		gomega.Expect(refused[0].Annotations).To(gomega.HaveKeyWithValue("authorization.k8s.io/decision", "forbid"))
	})
}
