package rbac

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
)

func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestRules(t *testing.T) {
	pods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	urls := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}
	both := urls
	both.Resources = []string{"pods"}
	for name, test := range map[string]struct {
		rule       rbacv1.PolicyRule
		namespaced bool
		want       []string
	}{
		"resource":       {pods, true, nil},
		"URL everywhere": {urls, false, nil},
		"URL in one namespace": {urls, true,
			[]string{`rules[0].nonResourceURLs: Invalid value: ["/metrics"]: namespaced rules cannot apply to non-resource URLs`}},
		"both": {both, false,
			[]string{`rules[0].nonResourceURLs: Invalid value: ["/metrics"]: rules cannot apply to both regular resources and non-resource URLs`}},
		"nothing": {rbacv1.PolicyRule{}, true, []string{
			`rules[0].verbs: Required value`,
			`rules[0].apiGroups: Required value: resource rules must supply at least one api group`,
			`rules[0].resources: Required value: resource rules must supply at least one resource`}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, validateRules([]rbacv1.PolicyRule{test.rule}, test.namespaced), test.want...)
		})
	}
}

func TestBindings(t *testing.T) {
	ctx := context.Background()
	b := &rbacv1.RoleBinding{
		RoleRef:  rbacv1.RoleRef{Kind: "Role", Name: "r"},
		Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}, {Kind: "ServiceAccount", Name: "default"}},
	}
	def := RoleBindings()
	def.Default(b)
	if b.RoleRef.APIGroup != rbacv1.GroupName || b.Subjects[0].APIGroup != rbacv1.GroupName || b.Subjects[1].APIGroup != "" {
		t.Errorf("defaults: %+v", b)
	}
	expect(t, def.Validate(ctx, b))
	other := b.DeepCopy()
	other.RoleRef.Name = "s"
	expect(t, def.ValidateUpdate(ctx, other, b),
		`roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"s"}: field is immutable`)

	cluster := &rbacv1.ClusterRoleBinding{RoleRef: b.RoleRef, Subjects: append(b.Subjects, rbacv1.Subject{Kind: "Robot", Name: "r"})}
	expect(t, ClusterRoleBindings().Validate(ctx, cluster),
		`roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`,
		`subjects[1].namespace: Required value`,
		`subjects[2].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"`)
}

// memory is a Source for tests.
type memory struct {
	roles    map[string][]rbacv1.PolicyRule
	bindings map[string][]rbacv1.RoleBinding
	cluster  []rbacv1.ClusterRoleBinding
}

func (m memory) Role(_ context.Context, namespace, name string) (*rbacv1.Role, error) {
	return &rbacv1.Role{Rules: m.roles[namespace+"/"+name]}, nil
}

func (m memory) ClusterRole(_ context.Context, name string) (*rbacv1.ClusterRole, error) {
	rules, ok := m.roles[name]
	if !ok {
		return nil, errors.New(name + " is missing")
	}
	return &rbacv1.ClusterRole{Rules: rules}, nil
}

func (m memory) RoleBindings(_ context.Context, namespace string) ([]*rbacv1.RoleBinding, error) {
	return pointers(m.bindings[namespace]), nil
}

func (m memory) ClusterRoleBindings(context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	return pointers(m.cluster), nil
}

func TestRulesForAUser(t *testing.T) {
	rule := func(name string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{name}}}
	}
	from := memory{
		roles: map[string][]rbacv1.PolicyRule{"nodes": rule("nodes"), "pods": rule("pods"), "one/secrets": rule("secrets")},
		bindings: map[string][]rbacv1.RoleBinding{"one": {
			{RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "secrets"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "bot"}}},
			{RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "pods"}, Subjects: []rbacv1.Subject{{Kind: "Group", Name: "devs"}}},
			{RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "gone"}, Subjects: []rbacv1.Subject{{Kind: "Group", Name: "devs"}}},
		}},
		cluster: []rbacv1.ClusterRoleBinding{
			{RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "nodes"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}}},
		},
	}
	for name, test := range map[string]struct {
		who       user.DefaultInfo
		namespace string
		want      string
		broken    bool
	}{
		"everywhere":           {user.DefaultInfo{Name: "jane"}, "", "nodes", false},
		"by group, in part":    {user.DefaultInfo{Name: "jane", Groups: []string{"devs"}}, "one", "nodes pods", true},
		"account of namespace": {user.DefaultInfo{Name: "system:serviceaccount:one:bot"}, "one", "secrets", false},
		"account of another":   {user.DefaultInfo{Name: "system:serviceaccount:two:bot"}, "one", "", false},
		"namespace of another": {user.DefaultInfo{Name: "x", Groups: []string{"devs"}}, "two", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := RulesFor(context.Background(), from, &test.who, test.namespace)
			var got []string
			for _, r := range rules {
				got = append(got, r.Resources...)
			}
			if strings.Join(got, " ") != test.want || (err != nil) != test.broken {
				t.Errorf("got %v, %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestMissingRightsAreMerged(t *testing.T) {
	one := func(verb, resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}}
	}
	got := describe([]rbacv1.PolicyRule{one("get", "pods"), one("get", "nodes"), one("list", "pods")})
	want := []string{`{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`, `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestLifecycleWritesPass(t *testing.T) {
	old := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "r", Finalizers: []string{"a"}}}
	now := old.DeepCopy()
	now.Finalizers = nil
	if !onlyLifecycle(now, old) {
		t.Error("removing a finalizer needs rights")
	}
	now.Rules = []rbacv1.PolicyRule{{Verbs: []string{"get"}}}
	if onlyLifecycle(now, old) {
		t.Error("a new rule passes as lifecycle")
	}
}
