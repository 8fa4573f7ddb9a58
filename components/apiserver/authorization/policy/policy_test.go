package policy

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

func TestDefault(t *testing.T) {
	p, err := Default(nil)
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]*rbacv1.ClusterRole{}
	for _, role := range p.ClusterRoles {
		roles[role.Name] = role
	}
	admin := roles["cluster-admin"]
	if admin == nil || len(admin.Rules) != 2 || admin.Rules[0].Verbs[0] != "*" || admin.Rules[1].NonResourceURLs[0] != "*" {
		t.Errorf("cluster-admin may not do everything: %+v", admin)
	}
	if edit := roles["edit"]; edit.AggregationRule == nil || edit.Labels["rbac.authorization.k8s.io/aggregate-to-admin"] != "true" {
		t.Errorf("edit neither gathers nor adds: %+v", edit)
	}
	for _, binding := range p.ClusterRoleBindings {
		if roles[binding.RoleRef.Name] == nil {
			t.Errorf("binding %s is to a role that does not exist: %s", binding.Name, binding.RoleRef.Name)
		}
	}
}

func TestFeaturesAddToThePolicy(t *testing.T) {
	rules := func(on features.Set, role string) int {
		rules, err := RulesOf(role, on)
		if err != nil {
			t.Fatal(err)
		}
		return len(rules)
	}
	on := features.Set{}
	on.Insert(features.GenericWorkload)
	if without, with := rules(nil, "system:kube-scheduler"), rules(on, "system:kube-scheduler"); with != without+2 {
		t.Errorf("the scheduler has %d rules, and %d with pod groups", without, with)
	}
	const controller = "system:controller:podgroup-protection-controller"
	if rules(on, controller) != 2 {
		t.Error("the controller has no rules")
	}
	if _, err := RulesOf(controller, nil); err == nil {
		t.Error("there is a role for a feature that is off")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"rule x", "  get core pods", "role r wants x", "bind a to b", "bind a to ClusterRole b: robot c"} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: got %v, want an error with the line", text, err)
		}
	}
}

type stored map[string][]runtime.Object

func (s stored) List(_ context.Context, resource string) ([]runtime.Object, error) {
	return s[resource], nil
}
func (s stored) Create(_ context.Context, resource string, obj runtime.Object) error {
	s["created "+resource] = append(s["created "+resource], obj)
	return nil
}
func (s stored) Update(_ context.Context, resource string, obj runtime.Object) error {
	s["updated "+resource] = append(s["updated "+resource], obj)
	return nil
}
func (s stored) Replace(context.Context, string, runtime.Object) error { return nil }

func TestEnsureAddsAndKeeps(t *testing.T) {
	parse := func(text string) *Policy {
		p, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	mine := parse("role a\n  get core pods\n  list apps deployments\nrole kept\n  get core secrets").ClusterRoles
	mine[1].Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
	have := stored{"clusterroles": {mine[0], mine[1]}}
	wanted := parse("role a\n  get core pods\n  watch core nodes\nrole kept\n  get core configmaps\nrole new\n  get core services")
	if err := wanted.Ensure(context.Background(), have); err != nil {
		t.Fatal(err)
	}
	if n := len(have["created clusterroles"]); n != 1 {
		t.Errorf("created %d roles, want 1", n)
	}
	if n := len(have["updated clusterroles"]); n != 1 {
		t.Fatalf("updated %d roles, want 1: one is protected", n)
	}
	if rules := have["updated clusterroles"][0].(*rbacv1.ClusterRole).Rules; len(rules) != 3 {
		t.Errorf("the update has rules %v; it should have the stored ones and the new one", rules)
	}
}
