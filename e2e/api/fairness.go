package api

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const flowControl = "https://kubernetes.io/docs/concepts/cluster-administration/flow-control/"

func fairnessSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.fairness.classified",
		Promise: "Every request belongs to one flow schema and one priority level, which the answer names; administrators are exempt.",
		Source:  flowControl, Judges: judged(),
	}, func(ctx context.Context) {
		for user, schema := range map[string]string{"": "exempt", "plumbline-somebody": "global-default"} {
			flow := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: schema}}
			gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(flow), flow)).To(gomega.Succeed())
			level := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: flow.Spec.PriorityLevelConfiguration.Name}}
			gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(level), level)).To(gomega.Succeed())
			answer := asked(ctx, s, user)
			gomega.Expect(answer.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)).To(gomega.Equal(string(flow.UID)), "flow schema of %q", user)
			gomega.Expect(answer.header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID)).To(gomega.Equal(string(level.UID)), "level of %q", user)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.fairness.mandatory",
		Promise: "The flow schema for what no other matches comes back within minutes when it is deleted.",
		Source:  flowControl + "#mandatory-configuration-objects", Judges: judged(),
	}, func(ctx context.Context) {
		before := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "catch-all"}}
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(before), before)).To(gomega.Succeed())
		s.Delete(ctx, before.DeepCopy(), metav1.DeletePropagationBackground)
		again := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "catch-all"}}
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, again, expect.Satisfy("be another one", func(flow *flowcontrolv1.FlowSchema) string {
			if flow.UID == before.UID {
				return "it is the one from before"
			}
			return ""
		}))).To(gomega.Succeed())
		gomega.Expect(again.Spec).To(gomega.Equal(before.Spec))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.fairness.rejected",
		Promise: "A level that rejects answers what it has no seat for with 429 and says when to try again, and others' requests pass.",
		Source:  flowControl, Judges: judged(),
	}, func(ctx context.Context) {
		user := s.Namespace(ctx)
		flow, _ := confine(ctx, s, user, flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject})
		gomega.Eventually(ctx, func() string { return asked(ctx, s, user).header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) }).
			WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Equal(string(flow.UID)))
		// A level always has room for one request; this one stays until all of it has been read.
		feed, held := hold(ctx, s, user)
		var refused answer
		gomega.Eventually(ctx, func() int {
			select {
			case code := <-held: // a seat is given back a moment after the answer to who had it
				gomega.Expect(code).To(gomega.Equal(http.StatusTooManyRequests))
				feed, held = hold(ctx, s, user)
			default:
			}
			refused = asked(ctx, s, user)
			return refused.code
		}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal(http.StatusTooManyRequests))
		gomega.Expect(refused.header.Get("Retry-After")).NotTo(gomega.BeEmpty())
		gomega.Expect(asked(ctx, s, user+"-other").code).To(gomega.Equal(http.StatusCreated))
		_, err := feed.Write([]byte(question[begun:]))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(feed.Close()).To(gomega.Succeed())
		gomega.Eventually(ctx, held).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Receive(gomega.Equal(http.StatusCreated)))
		gomega.Eventually(ctx, func() int { return asked(ctx, s, user).code }).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal(http.StatusCreated))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.fairness.queued",
		Promise: "A level that queues keeps what it has no seat for waiting, and serves it once it has one.",
		Source:  flowControl, Judges: judged(),
	}, func(ctx context.Context) {
		user := s.Namespace(ctx)
		_, level := confine(ctx, s, user, flowcontrolv1.LimitResponse{
			Type:    flowcontrolv1.LimitResponseTypeQueue,
			Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 1, HandSize: 1, QueueLengthLimit: 10},
		})
		waits := func() bool {
			brief, stop := context.WithTimeout(ctx, 300*time.Millisecond)
			defer stop()
			_, err := ask(brief, s, user, strings.NewReader(question))
			return err != nil && ctx.Err() == nil
		}
		gomega.Eventually(ctx, waits).WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.BeTrue(), "no request waits")
		answered := make(chan int, 1)
		go func() {
			defer ginkgo.GinkgoRecover()
			answered <- asked(ctx, s, user).code
		}()
		gomega.Consistently(ctx, answered).WithTimeout(500 * time.Millisecond).ShouldNot(gomega.Receive())
		suite.Patch(ctx, s, level, func(level *flowcontrolv1.PriorityLevelConfiguration) {
			level.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](20)
		})
		gomega.Eventually(ctx, answered).WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.Receive(gomega.Equal(http.StatusCreated)))
	})
}

// question asks what everybody may ask: whether they may do something.
const question = `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`

// confine gives a user's questions a level of their own without a seat.
func confine(ctx context.Context, s *suite.Suite, user string, response flowcontrolv1.LimitResponse) (*flowcontrolv1.FlowSchema, *flowcontrolv1.PriorityLevelConfiguration) {
	ginkgo.GinkgoHelper()
	level := &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: ptr.To[int32](0), BorrowingLimitPercent: ptr.To[int32](0), LimitResponse: response,
			},
		},
	}
	flow := &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level.Name},
			MatchingPrecedence:         100,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: user}}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"selfsubjectaccessreviews"}, ClusterScope: true,
				}},
			}},
		},
	}
	s.Create(ctx, level, flow)
	ginkgo.DeferCleanup(func(ctx context.Context) {
		s.Delete(ctx, flow, metav1.DeletePropagationBackground)
		s.Delete(ctx, level, metav1.DeletePropagationBackground)
	})
	return flow, level
}

type answer struct {
	code   int
	header http.Header
	body   string
}

// ask puts the question, without client-go's second tries.
func ask(ctx context.Context, s *suite.Suite, user string, body io.Reader) (answer, error) {
	config := rest.CopyConfig(s.Config)
	if user != "" {
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	}
	return request(ctx, config, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
}

// begun is how much of a held question is sent at first.
const begun = 10

// hold asks and stays in the middle of the question until the rest is fed; held tells what
// was answered.
func hold(ctx context.Context, s *suite.Suite, user string) (feed *io.PipeWriter, held <-chan int) {
	ginkgo.GinkgoHelper()
	body, feed := io.Pipe()
	answers := make(chan int, 1)
	go func() {
		defer ginkgo.GinkgoRecover()
		defer body.Close()
		got, err := ask(ctx, s, user, body)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		answers <- got.code
	}()
	_, err := feed.Write([]byte(question[:begun]))
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return feed, answers
}

func asked(ctx context.Context, s *suite.Suite, user string) answer {
	ginkgo.GinkgoHelper()
	got, err := ask(ctx, s, user, strings.NewReader(question))
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return got
}

// request makes one request for a path of the API.
func request(ctx context.Context, config *rest.Config, method, path string, body io.Reader) (answer, error) {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return answer{}, err
	}
	r, err := http.NewRequestWithContext(ctx, method, config.Host+path, body)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := httpClient.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{code: response.StatusCode, header: response.Header, body: string(content)}, err
}
