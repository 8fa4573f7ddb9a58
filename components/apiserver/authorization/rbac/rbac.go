// Package rbac decides by roles and bindings who may do what.
// See https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
)

// Authorizer implements authorizer.Authorizer and authorizer.RuleResolver.
type Authorizer struct {
	roles               rbaclisters.RoleLister
	clusterRoles        rbaclisters.ClusterRoleLister
	roleBindings        rbaclisters.RoleBindingLister
	clusterRoleBindings rbaclisters.ClusterRoleBindingLister
	ready               <-chan struct{}
	// index is nil when a binding has changed since it was made.
	index atomic.Pointer[index]
	// changes counts binding events, so that an index made meanwhile is not kept.
	changes atomic.Int64
}

var (
	_ authorizer.Authorizer   = &Authorizer{}
	_ authorizer.RuleResolver = &Authorizer{}
)

// index finds the bindings of a subject. Keys are "user:N", "group:N".
type index struct {
	cluster map[string][]*rbacv1.ClusterRoleBinding
	// namespaced is keyed by namespace first.
	namespaced map[string]map[string][]*rbacv1.RoleBinding
}

// New reads roles and bindings from the informers. Requests that arrive before ready is closed
// wait for it: at a start, the alternative is to turn away clients that will be allowed
// a moment later.
func New(informers rbacinformers.Interface, ready <-chan struct{}) (*Authorizer, error) {
	a := &Authorizer{
		roles:               informers.Roles().Lister(),
		clusterRoles:        informers.ClusterRoles().Lister(),
		roleBindings:        informers.RoleBindings().Lister(),
		clusterRoleBindings: informers.ClusterRoleBindings().Lister(),
		ready:               ready,
	}
	forget := func(any) { a.changes.Add(1); a.index.Store(nil) }
	onChange := cache.ResourceEventHandlerFuncs{AddFunc: forget, UpdateFunc: func(_, obj any) { forget(obj) }, DeleteFunc: forget}
	for _, bindings := range []cache.SharedIndexInformer{informers.RoleBindings().Informer(), informers.ClusterRoleBindings().Informer()} {
		if _, err := bindings.AddEventHandler(onChange); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Authorize allows what a rule of any role bound to the user allows.
func (a *Authorizer) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	if !a.wait(ctx) {
		return authorizer.DecisionNoOpinion, "RBAC: not synced", nil
	}
	var reason string
	err := a.visit(attributes.GetUser(), attributes.GetNamespace(), func(from source, rules []rbacv1.PolicyRule, _ error) bool {
		if slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool { return Allows(&rule, attributes) }) {
			reason = fmt.Sprintf("RBAC: allowed by %s", from)
			return false
		}
		return true
	})
	if reason != "" {
		return authorizer.DecisionAllow, reason, nil
	}
	if err != nil {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("RBAC: %v", err), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// ConditionsAwareAuthorize decides as Authorize does: roles have no conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attributes authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attributes))
}

// EvaluateConditions is never asked, for want of conditions.
func (a *Authorizer) EvaluateConditions(ctx context.Context, decision authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor lists what the user may do in a namespace, for SelfSubjectRulesReview.
func (a *Authorizer) RulesFor(ctx context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if !a.wait(ctx) {
		return nil, nil, true, ctx.Err()
	}
	var resources []authorizer.ResourceRuleInfo
	var urls []authorizer.NonResourceRuleInfo
	err := a.visit(who, namespace, func(_ source, rules []rbacv1.PolicyRule, _ error) bool {
		for _, rule := range rules {
			if len(rule.Resources) > 0 {
				resources = append(resources, &authorizer.DefaultResourceRuleInfo{
					Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
			}
			if len(rule.NonResourceURLs) > 0 {
				urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
			}
		}
		return true
	})
	return resources, urls, false, err
}

func (a *Authorizer) wait(ctx context.Context) bool {
	select {
	case <-a.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// source is the binding by which a rule reaches a user.
type source struct {
	kind, name, roleKind, roleName, subject string
}

func (s source) String() string {
	return fmt.Sprintf("%s %q of %s %q to %s", s.kind, s.name, s.roleKind, s.roleName, s.subject)
}

// visit shows each role bound to the user, cluster-wide first, until see returns false. The
// error names bindings whose role does not exist.
func (a *Authorizer) visit(who user.Info, namespace string, see func(source, []rbacv1.PolicyRule, error) bool) error {
	ix, err := a.indexed()
	if err != nil {
		return err
	}
	var errs []error
	subjects := subjectsOf(who)
	for _, s := range subjects {
		for _, binding := range ix.cluster[s.key] {
			rules, err := a.rulesOf(binding.RoleRef, "")
			errs = append(errs, err)
			if !see(source{"ClusterRoleBinding", binding.Name, binding.RoleRef.Kind, binding.RoleRef.Name, s.text}, rules, err) {
				return nil
			}
		}
	}
	if namespace == "" {
		return errors.Join(errs...)
	}
	for _, s := range subjects {
		for _, binding := range ix.namespaced[namespace][s.key] {
			rules, err := a.rulesOf(binding.RoleRef, namespace)
			errs = append(errs, err)
			if !see(source{"RoleBinding", binding.Name + "/" + namespace, binding.RoleRef.Kind, binding.RoleRef.Name, s.text}, rules, err) {
				return nil
			}
		}
	}
	return errors.Join(errs...)
}

func (a *Authorizer) rulesOf(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		role, err := a.roles.Roles(namespace).Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case "ClusterRole":
		role, err := a.clusterRoles.Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

type subject struct{ key, text string }

// subjectsOf are the names by which bindings may mean the user.
func subjectsOf(who user.Info) []subject {
	list := make([]subject, 0, len(who.GetGroups())+1)
	name := who.GetName()
	if namespace, account, err := serviceaccount.SplitUsername(name); err == nil {
		list = append(list, subject{"user:" + name, fmt.Sprintf("ServiceAccount %q", account+"/"+namespace)})
	} else {
		list = append(list, subject{"user:" + name, fmt.Sprintf("User %q", name)})
	}
	for _, group := range who.GetGroups() {
		list = append(list, subject{"group:" + group, fmt.Sprintf("Group %q", group)})
	}
	return list
}

func (a *Authorizer) indexed() (*index, error) {
	if ix := a.index.Load(); ix != nil {
		return ix, nil
	}
	before := a.changes.Load()
	ix := &index{cluster: map[string][]*rbacv1.ClusterRoleBinding{}, namespaced: map[string]map[string][]*rbacv1.RoleBinding{}}
	clusterBindings, err := a.clusterRoleBindings.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, binding := range clusterBindings {
		for _, s := range binding.Subjects {
			if key := keyOf(s, ""); key != "" {
				ix.cluster[key] = append(ix.cluster[key], binding)
			}
		}
	}
	bindings, err := a.roleBindings.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, binding := range bindings {
		for _, s := range binding.Subjects {
			if key := keyOf(s, binding.Namespace); key != "" {
				if ix.namespaced[binding.Namespace] == nil {
					ix.namespaced[binding.Namespace] = map[string][]*rbacv1.RoleBinding{}
				}
				ix.namespaced[binding.Namespace][key] = append(ix.namespaced[binding.Namespace][key], binding)
			}
		}
	}
	a.index.Store(ix)
	if a.changes.Load() != before {
		a.index.Store(nil)
	}
	return ix, nil
}

func keyOf(s rbacv1.Subject, namespace string) string {
	switch s.Kind {
	case rbacv1.UserKind:
		return "user:" + s.Name
	case rbacv1.GroupKind:
		return "group:" + s.Name
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		if namespace != "" {
			return "user:" + serviceaccount.MakeUsername(namespace, s.Name)
		}
	}
	return ""
}

// Allows says whether one rule covers the request.
func Allows(rule *rbacv1.PolicyRule, a authorizer.Attributes) bool {
	if !hasOrAll(rule.Verbs, a.GetVerb()) {
		return false
	}
	if !a.IsResourceRequest() {
		return slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool { return matchesURL(pattern, a.GetPath()) })
	}
	if !hasOrAll(rule.APIGroups, a.GetAPIGroup()) {
		return false
	}
	if len(rule.ResourceNames) > 0 && !slices.Contains(rule.ResourceNames, a.GetName()) {
		return false
	}
	resource, sub := a.GetResource(), a.GetSubresource()
	if sub == "" {
		return hasOrAll(rule.Resources, resource)
	}
	return hasOrAll(rule.Resources, resource+"/"+sub) || slices.Contains(rule.Resources, "*/"+sub)
}

func hasOrAll(list []string, item string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, item)
}

func matchesURL(pattern, path string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}
