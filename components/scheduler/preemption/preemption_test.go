package preemption

import (
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func startedAt(minute int) func(*v1.Pod) {
	return func(p *v1.Pod) {
		start := metav1.NewTime(time.Unix(0, 0).Add(time.Duration(minute) * time.Minute))
		p.Status.StartTime = &start
	}
}

func infos(pods ...*v1.Pod) (list []fwk.PodInfo) {
	for _, pod := range pods {
		info, _ := nodeinfo.NewPodInfo(pod)
		list = append(list, info)
	}
	return list
}

func names(list []fwk.PodInfo) (names []string) {
	for _, info := range list {
		names = append(names, info.GetPod().Name)
	}
	return names
}

func TestByImportance(t *testing.T) {
	list := infos(Pod("new", Priority(1), startedAt(2)), Pod("low", Priority(0), startedAt(0)), Pod("old", Priority(1), startedAt(1)), Pod("pending", Priority(1)))
	slices.SortFunc(list, byImportance)
	if got, want := names(list), []string{"old", "new", "pending", "low"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSplitByBudget(t *testing.T) {
	budget := func(app string, allowed int32, counted ...string) *policyv1.PodDisruptionBudget {
		b := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default"},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: Selects("app", app)},
			Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DisruptedPods: map[string]metav1.Time{}},
		}
		for _, name := range counted {
			b.Status.DisruptedPods[name] = metav1.Time{}
		}
		return b
	}
	web, db := Labels("app", "web"), Labels("app", "db")
	other := func(p *v1.Pod) { p.Namespace = "other" }
	tests := []struct {
		name      string
		pods      []*v1.Pod
		budgets   []*policyv1.PodDisruptionBudget
		protected []string
	}{
		{"no budget", []*v1.Pod{Pod("a", web)}, nil, nil},
		{"one allowed", []*v1.Pod{Pod("a", web), Pod("b", web), Pod("c", db)}, []*policyv1.PodDisruptionBudget{budget("web", 1)}, []string{"b"}},
		{"another namespace", []*v1.Pod{Pod("a", web, other)}, []*policyv1.PodDisruptionBudget{budget("web", 0)}, nil},
		{"counted already", []*v1.Pod{Pod("a", web)}, []*policyv1.PodDisruptionBudget{budget("web", 0, "a")}, nil},
		{"no labels", []*v1.Pod{Pod("a")}, []*policyv1.PodDisruptionBudget{budget("web", 0)}, nil},
		{"an empty selector selects nothing", []*v1.Pod{Pod("a", web)}, []*policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: Selects()}}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			protected, rest, _ := splitByBudget(infos(test.pods...), parse(test.budgets))
			if got := names(protected); !slices.Equal(got, test.protected) || len(protected)+len(rest) != len(test.pods) {
				t.Errorf("protected %v, want %v; rest %v", got, test.protected, names(rest))
			}
		})
	}
}

func TestBest(t *testing.T) {
	pods := func(list ...*v1.Pod) []*v1.Pod { return list }
	tests := []struct {
		name       string
		candidates []*Candidate
	}{
		{"fewest budgets exceeded", []*Candidate{
			{node: "other", victims: pods(Pod("a", Priority(0))), violations: 1},
			{node: "best", victims: pods(Pod("a", Priority(9)), Pod("b", Priority(9)))},
		}},
		{"lowest highest priority", []*Candidate{
			{node: "other", victims: pods(Pod("a", Priority(2)))},
			{node: "best", victims: pods(Pod("a", Priority(1)), Pod("b", Priority(1)))},
		}},
		{"lowest sum", []*Candidate{
			{node: "other", victims: pods(Pod("a", Priority(2)), Pod("b", Priority(1)))},
			{node: "best", victims: pods(Pod("a", Priority(2)), Pod("b", Priority(0)))},
		}},
		{"fewer of negative priority", []*Candidate{
			{node: "other", victims: pods(Pod("a", Priority(-1)), Pod("b", Priority(-5)))},
			{node: "best", victims: pods(Pod("a", Priority(-1)))},
		}},
		{"latest start", []*Candidate{
			{node: "other", victims: pods(Pod("a", Priority(1), startedAt(1)), Pod("b", Priority(0), startedAt(9)))},
			{node: "best", victims: pods(Pod("a", Priority(1), startedAt(2)), Pod("b", Priority(0), startedAt(0)))},
		}},
	}
	for _, test := range tests {
		if got := best(test.candidates).Node(); got != "best" {
			t.Errorf("%s: got %s", test.name, got)
		}
	}
}
