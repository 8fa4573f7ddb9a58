package quota

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func evaluator(t *testing.T, resource string) quotav1.Evaluator {
	t.Helper()
	for _, e := range Evaluators(nil, clocktesting.NewFakePassiveClock(now)) {
		if e.GroupResource().Resource == resource {
			return e
		}
	}
	t.Fatalf("nothing measures %s", resource)
	return nil
}

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func podOf(requests, limits corev1.ResourceList) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}}}}
}

func TestUsage(t *testing.T) {
	ended := podOf(list("cpu", "1"), nil)
	ended.Status.Phase = corev1.PodSucceeded
	overdue := podOf(list("cpu", "1"), nil)
	overdue.DeletionTimestamp, overdue.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(now.Add(-time.Minute))), ptr.To(int64(30))
	for _, c := range []struct {
		name, resource string
		object         runtime.Object
		want           corev1.ResourceList
	}{
		{"a pod", "pods", podOf(list("cpu", "1", "example.com/gpu", "2"), list("memory", "1Gi")),
			list("count/pods", "1", "pods", "1", "cpu", "1", "requests.cpu", "1", "requests.example.com/gpu", "2", "limits.memory", "1Gi")},
		{"an ended pod still exists", "pods", ended, list("count/pods", "1")},
		{"a pod that should be gone", "pods", overdue, list("count/pods", "1")},
		{"a node port Service", "services", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: make([]corev1.ServicePort, 2)}},
			list("count/services", "1", "services", "1", "services.nodeports", "2", "services.loadbalancers", "0")},
		{"a load balancer without node ports", "services", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: ptr.To(false), Ports: make([]corev1.ServicePort, 2)}},
			list("count/services", "1", "services", "1", "services.nodeports", "0", "services.loadbalancers", "1")},
		{"a claim of a class", "persistentvolumeclaims", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("gold"), Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "5Gi")}}},
			list("count/persistentvolumeclaims", "1", "persistentvolumeclaims", "1", "requests.storage", "5Gi",
				"gold.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "gold.storageclass.storage.k8s.io/requests.storage", "5Gi")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := evaluator(t, c.resource).Usage(c.object)
			if err != nil || !quotav1.Equals(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestMatchingResources(t *testing.T) {
	names := []corev1.ResourceName{"pods", "count/pods", "requests.cpu", "limits.memory", "hugepages-2Mi", "requests.example.com/gpu", "services", "requests.storage", "limits.example.com/gpu", "count/jobs.batch", "requests.kubernetes.io/x"}
	got := evaluator(t, "pods").MatchingResources(names)
	if len(got) != 6 {
		t.Errorf("got %v, want the first six", got)
	}
}

func TestConstraints(t *testing.T) {
	pods := evaluator(t, "pods")
	required := []corev1.ResourceName{"requests.cpu", "limits.memory", "requests.ephemeral-storage"}
	err := pods.Constraints(required, podOf(list("memory", "1"), nil))
	if err == nil || err.Error() != "must specify limits.memory for: main; requests.cpu for: main" {
		t.Errorf("got %v", err)
	}
	if err := pods.Constraints(required, podOf(list("cpu", "1"), list("memory", "1"))); err != nil {
		t.Errorf("got %v", err)
	}
	if err := pods.Constraints(required, &corev1.Service{}); err == nil || !strings.Contains(err.Error(), "Service") {
		t.Errorf("something that is no pod: got %v", err)
	}
}

func TestScopes(t *testing.T) {
	plain := podOf(nil, nil)
	bounded := podOf(list("cpu", "1"), nil)
	bounded.Spec.ActiveDeadlineSeconds = ptr.To(int64(5))
	bounded.Spec.PriorityClassName = "high"
	bounded.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{Namespaces: []string{"other"}}}}}
	priority := func(operator corev1.ScopeSelectorOperator, values ...string) corev1.ScopedResourceSelectorRequirement {
		return corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: operator, Values: values}
	}
	for _, c := range []struct {
		scope corev1.ScopedResourceSelectorRequirement
		pod   *corev1.Pod
		want  bool
	}{
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeBestEffort}, plain, true},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeNotBestEffort}, bounded, true},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeTerminating}, plain, false},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeTerminating}, bounded, true},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeCrossNamespacePodAffinity}, bounded, true},
		{priority(corev1.ScopeSelectorOpIn, "high", "low"), bounded, true},
		{priority(corev1.ScopeSelectorOpIn, "high"), plain, false},
		{priority(corev1.ScopeSelectorOpNotIn, "high"), bounded, false},
		{priority(corev1.ScopeSelectorOpExists), bounded, true},
		{priority(corev1.ScopeSelectorOpDoesNotExist), plain, true},
	} {
		got, err := evaluator(t, "pods").MatchingScopes(c.pod, []corev1.ScopedResourceSelectorRequirement{c.scope})
		if err != nil || (len(got) == 1) != c.want {
			t.Errorf("%+v: got %v, %v", c.scope, got, err)
		}
	}
}
