package pod

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestDefault(t *testing.T) {
	p := webPod()
	p.Spec.Containers[0].Image = "registry:5000/nginx"
	p.Spec.Containers[0].Resources.Limits = quantities("cpu", "0.0001", "memory", "1Gi")
	p.Spec.HostNetwork = true
	p.Spec.DeprecatedServiceAccount = "builder"
	Default(p)
	c := p.Spec.Containers[0]
	for what, pair := range map[string][2]any{
		"pull policy of latest":  {c.ImagePullPolicy, corev1.PullAlways},
		"pull policy of a tag":   {p.Spec.InitContainers[0].ImagePullPolicy, corev1.PullIfNotPresent},
		"request from limit":     {c.Resources.Requests.Memory().String(), "1Gi"},
		"limit in thousandths":   {c.Resources.Limits.Cpu().String(), "1m"},
		"host port":              {c.Ports[0].HostPort, int32(80)},
		"volume without source":  {p.Spec.Volumes[0].EmptyDir != nil, true},
		"service account":        {p.Spec.ServiceAccountName, "builder"},
		"grace period":           {*p.Spec.TerminationGracePeriodSeconds, int64(30)},
		"links to Services":      {*p.Spec.EnableServiceLinks, true},
		"requests in a template": {len(templateOf(p).Spec.Containers[0].Resources.Requests), 0},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
		}
	}
	again := p.DeepCopy()
	Default(again)
	if !reflect.DeepEqual(p, again) {
		t.Error("defaulting twice changes more than once")
	}
}

// templateOf has the limits of p and is defaulted as templates are.
func templateOf(p *corev1.Pod) *corev1.PodTemplateSpec {
	template := &corev1.PodTemplateSpec{Spec: *p.Spec.DeepCopy()}
	template.Spec.Containers[0].Resources.Requests = nil
	DefaultTemplate(template)
	return template
}

func TestQOSClass(t *testing.T) {
	both := quantities("cpu", "1", "memory", "1Gi")
	for name, c := range map[string]struct {
		init, main corev1.ResourceRequirements
		want       corev1.PodQOSClass
	}{
		"nothing asked":           {want: corev1.PodQOSBestEffort},
		"all limited":             {corev1.ResourceRequirements{Limits: both, Requests: both}, corev1.ResourceRequirements{Limits: both, Requests: both}, corev1.PodQOSGuaranteed},
		"one container is not":    {corev1.ResourceRequirements{}, corev1.ResourceRequirements{Limits: both, Requests: both}, corev1.PodQOSBurstable},
		"cpu alone":               {corev1.ResourceRequirements{}, corev1.ResourceRequirements{Limits: quantities("cpu", "1"), Requests: quantities("cpu", "1")}, corev1.PodQOSBurstable},
		"limits over requests":    {corev1.ResourceRequirements{}, corev1.ResourceRequirements{Limits: both, Requests: quantities("cpu", "1", "memory", "1Mi")}, corev1.PodQOSBurstable},
		"only what is not either": {corev1.ResourceRequirements{}, corev1.ResourceRequirements{Requests: quantities("ephemeral-storage", "1Gi")}, corev1.PodQOSBestEffort},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Resources: c.init}}, Containers: []corev1.Container{{Resources: c.main}}}}
			if got := QOSClass(p); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestGracePeriod(t *testing.T) {
	for name, c := range map[string]struct {
		node  string
		phase corev1.PodPhase
		asked *int64
		want  int64
	}{
		"the pod's own":   {node: "n1", phase: corev1.PodRunning, want: 30},
		"asked for":       {node: "n1", phase: corev1.PodRunning, asked: ptr.To[int64](5), want: 5},
		"at once":         {node: "n1", phase: corev1.PodRunning, asked: ptr.To[int64](0), want: 0},
		"negative":        {node: "n1", phase: corev1.PodRunning, asked: ptr.To[int64](-1), want: 1},
		"never scheduled": {phase: corev1.PodPending, asked: ptr.To[int64](5), want: 0},
		"over":            {node: "n1", phase: corev1.PodSucceeded, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := webPod()
			Default(p)
			p.Spec.NodeName, p.Status.Phase = c.node, c.phase
			o := &metav1.DeleteOptions{GracePeriodSeconds: c.asked}
			if !checkGracefulDelete(context.Background(), p, o) || *o.GracePeriodSeconds != c.want {
				t.Errorf("got %d, want %d", *o.GracePeriodSeconds, c.want)
			}
		})
	}
}

func TestCells(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
	}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	initialized := []corev1.PodCondition{{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for name, c := range map[string]struct {
		status  corev1.PodStatus
		deleted bool
		want    string // READY STATUS RESTARTS
	}{
		"new": {corev1.PodStatus{Phase: corev1.PodPending}, false, "0/2 Pending 0"},
		"gated": {corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated}}}, false, "0/2 SchedulingGated 0"},
		"initialising": {corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "prepare", State: running}}}, false, "0/2 Init:0/2 0"},
		"init failing": {corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "prepare", State: waiting("CrashLoopBackOff"), RestartCount: 3}}}, false, "0/2 Init:CrashLoopBackOff 3"},
		"init failed": {corev1.PodStatus{Phase: corev1.PodFailed, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "prepare", State: ended(2, "")}}}, false, "0/2 Init:ExitCode:2 0"},
		"running": {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: initialized, InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "prepare", State: ended(0, "Completed"), RestartCount: 4}, {Name: "proxy", State: running, Started: ptr.To(true), Ready: true, RestartCount: 1}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "nginx", State: running, Ready: true, RestartCount: 2}}}, false, "2/2 Running 3"},
		"crashing": {corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "nginx", State: waiting("CrashLoopBackOff"), RestartCount: 2,
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(time.Now().Add(-90 * time.Second))}}}}},
			false, "0/2 CrashLoopBackOff 2 (90s ago)"},
		"completed": {corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "nginx", State: ended(0, "Completed")}}}, false, "0/2 Completed 0"},
		"one completed, one running": {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: initialized, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "nginx", State: ended(0, "Completed")}, {Name: "b", State: running, Ready: true}}}, false, "1/2 Running 0"},
		"one failed, one completed": {corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "nginx", State: ended(0, "Completed")}, {Name: "b", State: ended(1, "Error")}}}, false, "0/2 Error 0"},
		"terminating":              {corev1.PodStatus{Phase: corev1.PodRunning}, true, "0/2 Terminating 0"},
		"completed and being gone": {corev1.PodStatus{Phase: corev1.PodSucceeded}, true, "0/2 Succeeded 0"},
		"on a lost node":           {corev1.PodStatus{Phase: corev1.PodRunning, Reason: "NodeLost"}, true, "0/2 Unknown 0"},
		"evicted":                  {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}, false, "0/2 Evicted 0"},
	} {
		t.Run(name, func(t *testing.T) {
			p := webPod()
			p.Status = c.status
			if c.deleted {
				p.DeletionTimestamp = ptr.To(metav1.Now())
			}
			row := cells(p)
			if got := strings.Join([]string{row[1].(string), row[2].(string), row[3].(string)}, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if len(row) != len(columns()) {
				t.Errorf("%d cells under %d columns", len(row), len(columns()))
			}
		})
	}
}

func TestRefusalOf(t *testing.T) {
	for name, c := range map[string]struct {
		status policyv1.PodDisruptionBudgetStatus
		code   int32
		cause  string
	}{
		"one left": {status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: 1}},
		"spent": {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DesiredHealthy: 3, CurrentHealthy: 3}, 429,
			"The disruption budget b needs 3 healthy pods and has 3 currently"},
		"not seen yet": {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1}, 429,
			"The disruption budget b is still being processed by the server."},
		"its controller failed": {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, Conditions: []metav1.Condition{
			{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: "no scale"}}}, 429,
			"The disruption budget b does not allow evicting pods currently because it failed sync: no scale"},
		"negative": {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: -1}, 403,
			"The disruption budget b does not allow evicting pods currently: pdb disruptions allowed is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			err := refusalOf(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Generation: 2}, Status: c.status})
			if c.code == 0 {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			status := err.(apierrors.APIStatus).Status() //nolint:errorlint // it is not wrapped
			cause := status.Details.Causes[len(status.Details.Causes)-1]
			if status.Code != c.code || cause.Type != policyv1.DisruptionBudgetCause || cause.Message != c.cause {
				t.Errorf("got %d %q", status.Code, cause.Message)
			}
		})
	}
}

func TestAssign(t *testing.T) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"by": "me"}, Labels: map[string]string{"zone": "a"}},
		Target:     corev1.ObjectReference{Name: "n1"},
	}
	p := webPod()
	p.Status.NominatedNodeName = "n2"
	if err := assign(p, binding); err != nil {
		t.Fatal(err)
	}
	if p.Spec.NodeName != "n1" || p.Status.NominatedNodeName != "" || p.Annotations["by"] != "me" || p.Labels["zone"] != "a" || !isTrue(p, corev1.PodScheduled) {
		t.Errorf("bound pod: %+v", p)
	}
	if err := assign(p, binding); err == nil || err.Error() != `pod web is already assigned to node "n1"` {
		t.Errorf("bound twice: %v", err)
	}
	gated := webPod()
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}}
	if err := assign(gated, binding); err == nil {
		t.Error("a gated pod was bound")
	}
}

func TestMergeLabelKeys(t *testing.T) {
	p := webPod()
	p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{}, MatchLabelKeys: []string{"app", "absent"},
	}}
	Default(p)
	prepareForCreate(context.Background(), p)
	got := p.Spec.TopologySpreadConstraints[0].LabelSelector.MatchExpressions
	want := []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"web"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if errs := validateCreate(p); len(errs) > 0 {
		t.Errorf("refused after merging: %v", errs)
	}
}
