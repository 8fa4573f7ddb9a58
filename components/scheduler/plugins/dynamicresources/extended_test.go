package dynamicresources

import (
	"reflect"
	"testing"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

const implicit = v1.ResourceName(resourcev1.ResourceDeviceClassPrefix + "gpu")

func container(name string, amount string, policy *v1.ContainerRestartPolicy) v1.Container {
	c := v1.Container{Name: name, RestartPolicy: policy}
	if amount != "" {
		c.Resources.Requests = Resources(map[v1.ResourceName]string{v1.ResourceCPU: "1", implicit: amount})
	}
	return c
}

func TestRequestsForContainers(t *testing.T) {
	always := ptr.To(v1.ContainerRestartPolicyAlways)
	for _, test := range []struct {
		name         string
		init, beside []v1.Container
		counts       map[string]int64
		served       map[string][]string
	}{
		{
			name:   "containers side by side have their own",
			beside: []v1.Container{container("a", "1", nil), container("b", "", nil), container("c", "2", nil)},
			counts: map[string]int64{"container-0-request-1": 1, "container-2-request-1": 2},
			served: map[string][]string{"a": {"container-0-request-1"}, "c": {"container-2-request-1"}},
		},
		{
			name: "init containers use what comes later",
			init: []v1.Container{container("i", "1", nil)}, beside: []v1.Container{container("a", "2", nil)},
			counts: map[string]int64{"container-1-request-1": 2},
			served: map[string][]string{"i": {"container-1-request-1"}, "a": {"container-1-request-1"}},
		},
		{
			name: "what init containers lack is the largest lack",
			init: []v1.Container{container("i", "3", nil), container("j", "5", nil)}, beside: []v1.Container{container("a", "1", nil)},
			counts: map[string]int64{"container-1-request-1": 4, "container-2-request-1": 1},
			served: map[string][]string{"i": {"container-2-request-1", "container-1-request-1"}, "j": {"container-2-request-1", "container-1-request-1"}, "a": {"container-2-request-1"}},
		},
		{
			name:   "a sidecar keeps its devices from those after it",
			init:   []v1.Container{container("s", "1", always), container("i", "1", nil)},
			counts: map[string]int64{"container-0-request-1": 1, "container-1-request-1": 1},
			served: map[string][]string{"s": {"container-0-request-1"}, "i": {"container-1-request-1"}},
		},
	} {
		pod := &v1.Pod{Spec: v1.PodSpec{InitContainers: test.init, Containers: test.beside}}
		requests, mappings := deviceRequests(pod, map[v1.ResourceName]string{implicit: "gpu"})
		counts, served := map[string]int64{}, map[string][]string{}
		for _, r := range requests {
			counts[r.Name] = r.Exactly.Count
		}
		for _, m := range mappings {
			served[m.ContainerName] = append(served[m.ContainerName], m.RequestName)
		}
		if !reflect.DeepEqual(counts, test.counts) || !reflect.DeepEqual(served, test.served) {
			t.Errorf("%s: requests %v served %v", test.name, counts, served)
		}
	}
}

func TestExtendedResourceBecomesAClaim(t *testing.T) {
	pod := Pod("pod", Requests(map[v1.ResourceName]string{implicit: "1"}))
	r := newRig(t, on("one", "a"), pod)
	r.client.PrependReactor("create", "resourceclaims", func(action clienttesting.Action) (bool, apiruntime.Object, error) {
		claim := action.(clienttesting.CreateAction).GetObject().(*resourcev1.ResourceClaim)
		claim.Name, claim.UID, claim.ResourceVersion = claim.GenerateName+"x", "made", "5"
		return false, nil, nil
	})
	ctx := t.Context()
	state := r.expect(pod, map[string]string{"one": "", "two": nothingLeft})
	if status := r.plugin.Reserve(ctx, state, pod, "one"); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	r.expect(Pod("other", Requests(map[v1.ResourceName]string{implicit: "1"})), map[string]string{"one": nothingLeft, "two": nothingLeft})
	if status := r.plugin.PreBind(ctx, state, pod, "one"); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	after, _ := r.client.CoreV1().Pods("default").Get(ctx, "pod", metav1.GetOptions{})
	if s := after.Status.ExtendedResourceClaimStatus; s == nil || s.ResourceClaimName != "pod-extended-resources-x" || len(s.RequestMappings) != 1 {
		t.Errorf("status %+v", s)
	}
	r.plugin.Unreserve(ctx, state, pod, "one")
	left, _ := r.client.ResourceV1().ResourceClaims("default").List(ctx, metav1.ListOptions{})
	if len(left.Items) != 0 {
		t.Errorf("%d claims left after Unreserve", len(left.Items))
	}
}
