// Package policy holds the roles and bindings that every cluster starts with, and
// brings a cluster's stored ones up to them.
package policy

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

//go:embed policy.txt
var text string

// genericWorkload is what the feature gate of that name adds.
//
//go:embed genericworkload.txt
var genericWorkload string

// Policy is a set of RBAC objects.
type Policy struct {
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	Roles               []*rbacv1.Role
	RoleBindings        []*rbacv1.RoleBinding
}

// Objects are all of them.
func (p *Policy) Objects() []metav1.Object {
	var all []metav1.Object
	for _, o := range p.ClusterRoles {
		all = append(all, o)
	}
	for _, o := range p.ClusterRoleBindings {
		all = append(all, o)
	}
	for _, o := range p.Roles {
		all = append(all, o)
	}
	for _, o := range p.RoleBindings {
		all = append(all, o)
	}
	return all
}

// Default is what every cluster with these features starts with.
func Default(on features.Set) (*Policy, error) {
	if on.Has(features.GenericWorkload) {
		return Parse(text + genericWorkload)
	}
	return Parse(text)
}

// RulesOf are the rules of one of the default cluster roles.
func RulesOf(clusterRole string, on features.Set) ([]rbacv1.PolicyRule, error) {
	policy, err := Default(on)
	if err != nil {
		return nil, err
	}
	for _, role := range policy.ClusterRoles {
		if role.Name == clusterRole {
			return role.Rules, nil
		}
	}
	return nil, fmt.Errorf("there is no cluster role %q", clusterRole)
}

// Parse reads the language that policy.txt explains.
func Parse(text string) (*Policy, error) {
	p := &parser{policy: &Policy{}}
	for i, line := range strings.Split(text, "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w: %q", i+1, err, line)
		}
	}
	return p.policy, nil
}

type parser struct {
	policy *Policy
	// rules are those of the role being read.
	rules *[]rbacv1.PolicyRule
}

func (p *parser) line(line string) error {
	words := strings.Fields(line)
	switch {
	case len(words) == 0 || words[0] == "#" || strings.HasPrefix(words[0], "#"):
		return nil
	case strings.HasPrefix(line, " "):
		return p.rule(words)
	case words[0] == "role" && len(words) > 1:
		return p.role(words[1], words[2:])
	case words[0] == "bind":
		return p.bind(strings.TrimPrefix(line, "bind "))
	}
	return fmt.Errorf("neither role nor bind nor a rule")
}

func (p *parser) role(name string, options []string) error {
	meta := metadata(name)
	if meta.Namespace != "" {
		role := &rbacv1.Role{ObjectMeta: meta}
		p.policy.Roles, p.rules = append(p.policy.Roles, role), &role.Rules
		return nil
	}
	if at := slices.IndexFunc(p.policy.ClusterRoles, func(r *rbacv1.ClusterRole) bool { return r.Name == name }); at >= 0 {
		if len(options) > 0 {
			return fmt.Errorf("the role was there before: it takes further rules alone")
		}
		p.rules = &p.policy.ClusterRoles[at].Rules
		return nil
	}
	role := &rbacv1.ClusterRole{ObjectMeta: meta}
	for i := 0; i+1 < len(options); i += 2 {
		label := rbacv1.GroupName + "/" + options[i+1]
		switch options[i] {
		case "adds":
			role.Labels[label] = "true"
		case "gathers":
			role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{label: "true"}}}}
		default:
			return fmt.Errorf("%q is not known", options[i])
		}
	}
	p.policy.ClusterRoles, p.rules = append(p.policy.ClusterRoles, role), &role.Rules
	return nil
}

func (p *parser) rule(words []string) error {
	if p.rules == nil || len(words) < 3 {
		return fmt.Errorf("a rule needs a role before it, and verbs, groups and resources")
	}
	rule := rbacv1.PolicyRule{Verbs: strings.Split(words[0], ",")}
	if words[1] == "on" {
		rule.NonResourceURLs = words[2:]
	} else {
		for _, group := range strings.Split(words[1], ",") {
			rule.APIGroups = append(rule.APIGroups, strings.TrimPrefix(group, "core"))
		}
		rule.Resources = words[2:]
		if at := slices.Index(words, "named"); at > 0 {
			rule.Resources, rule.ResourceNames = words[2:at], words[at+1:]
		}
	}
	*p.rules = append(*p.rules, rule)
	return nil
}

func (p *parser) bind(line string) error {
	head, subjects, ok := strings.Cut(line, ": ")
	words := strings.Fields(head)
	if !ok || len(words) != 4 || words[1] != "to" {
		return fmt.Errorf("a binding reads: bind NAME to KIND ROLE: SUBJECTS")
	}
	meta := metadata(words[0])
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: words[2], Name: words[3]}
	var list []rbacv1.Subject
	for _, s := range strings.Split(subjects, "; ") {
		if s == "nobody" {
			continue
		}
		subject, err := parseSubject(s)
		if err != nil {
			return err
		}
		list = append(list, subject)
	}
	if meta.Namespace != "" {
		p.policy.RoleBindings = append(p.policy.RoleBindings, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: list})
	} else {
		p.policy.ClusterRoleBindings = append(p.policy.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: list})
	}
	return nil
}

func parseSubject(s string) (rbacv1.Subject, error) {
	kind, name, _ := strings.Cut(strings.TrimSpace(s), " ")
	switch kind {
	case "user":
		return rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}, nil
	case "group":
		return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name}, nil
	case "account":
		if namespace, account, ok := strings.Cut(name, "/"); ok {
			return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}, nil
		}
	}
	return rbacv1.Subject{}, fmt.Errorf("%q is no subject", s)
}

// metadata marks an object as one of ours, to be updated with us.
func metadata(name string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{
		Name:        name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		meta.Namespace, meta.Name = namespace, rest
	}
	return meta
}
