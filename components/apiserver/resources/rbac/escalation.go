package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	covering "k8s.io/component-helpers/auth/rbac/validation"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// grant is what a write would let somebody do.
type grant struct {
	rules []rbacv1.PolicyRule
	// everything is true where the rules may grow by themselves.
	everything bool
}

// guard refuses writes by which users would give away more than they have.
// See https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping.
type guard struct {
	env  *resource.Env
	kind string
}

// guardRoles lets a role be written by whoever holds all its permissions, or may
// "escalate" it.
func guardRoles(env *resource.Env, store *genericregistry.Store, of func(obj, old runtime.Object) grant) {
	g := guard{env, store.DefaultQualifiedResource.Resource}
	g.watch(store, func(ctx context.Context, obj, old runtime.Object) error {
		if g.mayEscalate(ctx) {
			return nil
		}
		wanted := of(obj, old)
		if err := g.confirm(ctx, wanted.rules); err != nil {
			return g.forbid(obj, err)
		}
		if !wanted.everything {
			return nil
		}
		all := []string{"*"}
		if g.confirm(ctx, []rbacv1.PolicyRule{{Verbs: all, APIGroups: all, Resources: all}, {Verbs: all, NonResourceURLs: all}}) != nil {
			return g.forbid(obj, errors.New("must have cluster-admin privileges to use the aggregationRule"))
		}
		return nil
	})
}

// guardBindings lets a role be bound by whoever holds all its permissions, or may
// "bind" it.
func guardBindings(env *resource.Env, store *genericregistry.Store, of func(runtime.Object) rbacv1.RoleRef) {
	g := guard{env, store.DefaultQualifiedResource.Resource}
	g.watch(store, func(ctx context.Context, obj, _ runtime.Object) error {
		ref, namespace := of(obj), genericrequest.NamespaceValue(ctx)
		if g.mayBind(ctx, ref, namespace) {
			return nil
		}
		rules, err := RulesOf(ctx, stores{g.env}, ref, namespace)
		if err != nil {
			return err
		}
		if err := g.confirm(ctx, rules); err != nil {
			return g.forbid(obj, err)
		}
		return nil
	})
}

// watch puts check into the store's way; the superuser's writes and those of the
// garbage collector pass.
func (g guard) watch(store *genericregistry.Store, check func(ctx context.Context, obj, old runtime.Object) error) {
	done := func(context.Context, bool) {}
	store.BeginCreate = func(ctx context.Context, obj runtime.Object, _ *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		if isSuperuser(ctx) {
			return done, nil
		}
		return done, check(ctx, obj, nil)
	}
	store.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, _ *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		if isSuperuser(ctx) || onlyLifecycle(obj, old) {
			return done, nil
		}
		return done, check(ctx, obj, old)
	}
}

// isSuperuser says whether the user may do anything regardless of rules, as the
// API server itself may.
func isSuperuser(ctx context.Context) bool {
	who, ok := genericrequest.UserFrom(ctx)
	return ok && slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup)
}

// onlyLifecycle says whether an update changes owners and finalizers at most.
func onlyLifecycle(obj, old runtime.Object) bool {
	now := obj.DeepCopyObject()
	to, ok := now.(metav1.Object)
	was, known := old.(metav1.Object)
	if !ok || !known {
		return false
	}
	to.SetOwnerReferences(was.GetOwnerReferences())
	to.SetFinalizers(was.GetFinalizers())
	to.SetManagedFields(was.GetManagedFields())
	return apiequality.Semantic.DeepEqual(now, old)
}

func (g guard) allowed(ctx context.Context, attributes authorizer.AttributesRecord) bool {
	who, ok := genericrequest.UserFrom(ctx)
	if !ok || g.env.Authorizer == nil {
		return false
	}
	attributes.User, attributes.APIVersion, attributes.ResourceRequest = who, "*", true
	decision, _, _ := g.env.Authorizer.Authorize(ctx, attributes)
	return decision == authorizer.DecisionAllow
}

func (g guard) mayEscalate(ctx context.Context) bool {
	info, ok := genericrequest.RequestInfoFrom(ctx)
	if !ok || !info.IsResourceRequest || info.APIGroup != rbacv1.GroupName || info.Resource != g.kind {
		return false
	}
	return g.allowed(ctx, authorizer.AttributesRecord{
		Verb: "escalate", APIGroup: info.APIGroup, Resource: info.Resource, Name: info.Name, Namespace: info.Namespace,
	})
}

func (g guard) mayBind(ctx context.Context, ref rbacv1.RoleRef, namespace string) bool {
	resources := map[string]string{"Role": "roles", "ClusterRole": "clusterroles"}
	return g.allowed(ctx, authorizer.AttributesRecord{
		Verb: "bind", APIGroup: ref.APIGroup, Resource: resources[ref.Kind], Name: ref.Name, Namespace: namespace,
	})
}

func (g guard) forbid(obj runtime.Object, err error) error {
	name := ""
	if o, ok := obj.(metav1.Object); ok {
		name = o.GetName()
	}
	return apierrors.NewForbidden(rbacv1.Resource(g.kind), name, err)
}

// confirm says which of the rules the user lacks.
func (g guard) confirm(ctx context.Context, rules []rbacv1.PolicyRule) error {
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return errors.New("no user on context")
	}
	held, unresolved := RulesFor(ctx, stores{g.env}, who, genericrequest.NamespaceValue(ctx))
	enough, missing := covering.Covers(held, rules)
	if enough {
		return nil
	}
	message := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		who.GetName(), who.GetGroups(), strings.Join(describe(missing), "\n"))
	if unresolved != nil {
		message += fmt.Sprintf("; resolution errors: [%v]", unresolved)
	}
	return errors.New(message)
}

// describe lists rules for people: those for one resource become one line, sorted.
func describe(rules []rbacv1.PolicyRule) []string {
	var lines []string
	merged := map[string]*rbacv1.PolicyRule{}
	for i := range rules {
		rule := rules[i].DeepCopy()
		simple := len(rule.APIGroups) == 1 && len(rule.Resources) == 1 && len(rule.ResourceNames) <= 1 && len(rule.NonResourceURLs) == 0
		if !simple {
			lines = append(lines, compact(rule))
			continue
		}
		key := fmt.Sprintf("%q %q %q", rule.APIGroups, rule.Resources, rule.ResourceNames)
		if known, ok := merged[key]; ok {
			known.Verbs = append(known.Verbs, rule.Verbs...)
		} else {
			merged[key] = rule
		}
	}
	for _, rule := range merged {
		lines = append(lines, compact(rule))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func compact(rule *rbacv1.PolicyRule) string {
	var parts []string
	for _, part := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", rule.APIGroups}, {"Resources", rule.Resources}, {"NonResourceURLs", rule.NonResourceURLs},
		{"ResourceNames", rule.ResourceNames}, {"Verbs", rule.Verbs},
	} {
		if len(part.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", part.name, part.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
