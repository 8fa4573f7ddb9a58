// Package node decides what kubelets may do: what every node needs, their own node's objects,
// and of everything else what the pods on their node refer to.
// See https://kubernetes.io/docs/reference/access-authn-authz/node/.
package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/plumbline/plumbline/components/apiserver/authorization/rbac"
)

const userPrefix = "system:node:"

// NameOf says whether a user is a kubelet, and of which node.
func NameOf(who user.Info) (name string, isNode bool) {
	if who == nil || !strings.HasPrefix(who.GetName(), userPrefix) || !slices.Contains(who.GetGroups(), user.NodesGroup) {
		return "", false
	}
	return strings.TrimPrefix(who.GetName(), userPrefix), true
}

// Authorizer implements authorizer.Authorizer and authorizer.RuleResolver.
type Authorizer struct {
	objects Objects
	// rules are what every node may do.
	rules []rbacv1.PolicyRule
}

var (
	_ authorizer.Authorizer   = &Authorizer{}
	_ authorizer.RuleResolver = &Authorizer{}
)

// New looks into objects for what a node's pods refer to.
func New(objects Objects, rules []rbacv1.PolicyRule) *Authorizer {
	return &Authorizer{objects: objects, rules: rules}
}

// Authorize has an opinion on kubelets only.
func (a *Authorizer) Authorize(ctx context.Context, request authorizer.Attributes) (authorizer.Decision, string, error) {
	node, isNode := NameOf(request.GetUser())
	if !isNode {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if node == "" {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", request.GetUser().GetName()), nil
	}
	refusal := a.refusal(ctx, node, request)
	if refusal == "" {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, strings.TrimPrefix(refusal, silent), nil
}

// ConditionsAwareAuthorize decides as Authorize does.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, request authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, request))
}

// EvaluateConditions is never asked, for want of conditions.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor cannot list what a node may do, since that hangs on its pods.
func (a *Authorizer) RulesFor(_ context.Context, who user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, isNode := NameOf(who); isNode {
		return nil, nil, true, errors.New("node authorizer does not support user rule resolution")
	}
	return nil, nil, false, nil
}

// silent is a refusal of which nothing is to be said.
const silent = "\x00"

// refusal says why a node may not do something; it is empty when it may.
func (a *Authorizer) refusal(ctx context.Context, node string, r authorizer.Attributes) string {
	if r.IsResourceRequest() {
		limit, limited := a.limits()[schema.GroupResource{Group: r.GetAPIGroup(), Resource: r.GetResource()}]
		if limited {
			return limit(ctx, node, r)
		}
	}
	if slices.ContainsFunc(a.rules, func(rule rbacv1.PolicyRule) bool { return rbac.Allows(&rule, r) }) {
		return ""
	}
	return silent
}

// limit judges requests for one resource.
type limit func(ctx context.Context, node string, r authorizer.Attributes) string

func (a *Authorizer) limits() map[schema.GroupResource]limit {
	return map[schema.GroupResource]limit{
		{Resource: "secrets"}:                                              a.readOne,
		{Resource: "configmaps"}:                                           a.readOne,
		{Resource: "persistentvolumeclaims"}:                               a.claim,
		{Resource: "persistentvolumes"}:                                    a.getOne,
		{Resource: "serviceaccounts"}:                                      a.account,
		{Resource: "nodes"}:                                                a.node,
		{Resource: "pods"}:                                                 a.pod,
		{Group: "resource.k8s.io", Resource: "resourceclaims"}:             a.getOne,
		{Group: "resource.k8s.io", Resource: "resourceslices"}:             a.slice,
		{Group: "storage.k8s.io", Resource: "volumeattachments"}:           a.getOne,
		{Group: "storage.k8s.io", Resource: "csinodes"}:                    a.csiNode,
		{Group: "coordination.k8s.io", Resource: "leases"}:                 a.lease,
		{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}: a.certificateRequest,
	}
}

func among(verb string, verbs ...string) bool { return slices.Contains(verbs, verb) }

// related asks whether the object has to do with the node's pods.
func (a *Authorizer) related(ctx context.Context, node string, r authorizer.Attributes) string {
	if r.GetName() == "" {
		return "No Object name found"
	}
	if !refersTo(ctx, a.objects, node, target{r.GetResource(), r.GetNamespace(), r.GetName()}) {
		return fmt.Sprintf("no relationship found between node '%s' and this object", node)
	}
	return ""
}

func (a *Authorizer) readOne(ctx context.Context, node string, r authorizer.Attributes) string {
	switch {
	case !among(r.GetVerb(), "get", "list", "watch"):
		return "can only read resources of this type"
	case r.GetSubresource() != "":
		return "cannot read subresource"
	case r.GetNamespace() == "":
		return "can only read namespaced object of this type"
	}
	return a.related(ctx, node, r)
}

func (a *Authorizer) getOne(ctx context.Context, node string, r authorizer.Attributes) string {
	switch {
	case r.GetVerb() != "get":
		return "can only get individual resources of this type"
	case r.GetSubresource() != "":
		return "cannot get subresource"
	}
	return a.related(ctx, node, r)
}

func (a *Authorizer) claim(ctx context.Context, node string, r authorizer.Attributes) string {
	if r.GetSubresource() != "status" {
		return a.getOne(ctx, node, r)
	}
	if !among(r.GetVerb(), "update", "patch") {
		return "can only get/update/patch this type"
	}
	return a.related(ctx, node, r)
}

func (a *Authorizer) account(ctx context.Context, node string, r authorizer.Attributes) string {
	switch {
	case r.GetVerb() == "get" && r.GetSubresource() == "":
		return a.readOne(ctx, node, r)
	case r.GetVerb() != "create" || r.GetName() == "":
		return "can only create tokens for individual service accounts"
	case r.GetSubresource() != "token":
		return "can only create token subresource of serviceaccount"
	}
	return a.related(ctx, node, r)
}

// node lets a kubelet read its own node; what it may write is for admission to judge, which
// sees the object.
func (a *Authorizer) node(_ context.Context, node string, r authorizer.Attributes) string {
	switch {
	case r.GetSubresource() == "" && among(r.GetVerb(), "create", "update", "patch"),
		r.GetSubresource() == "status" && among(r.GetVerb(), "update", "patch"):
		return ""
	case r.GetSubresource() != "" || !among(r.GetVerb(), "get", "list", "watch"):
		return silent
	case r.GetName() == node:
		return ""
	case r.GetName() == "":
		return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
	}
	return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, r.GetName())
}

func (a *Authorizer) pod(ctx context.Context, node string, r authorizer.Attributes) string {
	verb := r.GetVerb()
	switch r.GetSubresource() {
	case "":
		switch {
		case verb == "get":
			return a.related(ctx, node, r)
		case among(verb, "create", "delete"):
			// Mirror pods; admission sees to it that there are no others.
			return ""
		case among(verb, "list", "watch"):
			if selects(r, "spec.nodeName", node) || (r.GetName() != "" && a.related(ctx, node, r) == "") {
				return ""
			}
			return "can only list/watch pods with spec.nodeName field selector"
		}
	case "status":
		if among(verb, "update", "patch") {
			return ""
		}
	case "eviction":
		if verb == "create" {
			return ""
		}
	}
	return silent
}

func (a *Authorizer) slice(ctx context.Context, node string, r authorizer.Attributes) string {
	verb := r.GetVerb()
	switch {
	case r.GetSubresource() != "":
		return "cannot authorize ResourceSlice subresources"
	case verb == "create":
		return ""
	case among(verb, "get", "update", "patch", "delete"):
		return a.related(ctx, node, r)
	case !among(verb, "watch", "list", "deletecollection"):
		return "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
	case !selects(r, "spec.nodeName", node):
		return "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return ""
}

func (a *Authorizer) csiNode(_ context.Context, node string, r authorizer.Attributes) string {
	switch {
	case r.GetSubresource() != "":
		return "cannot authorize CSINode subresources"
	case !among(r.GetVerb(), "get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a CSINode"
	case r.GetVerb() != "create" && r.GetName() != node:
		return "can only access CSINode with the same name as the requesting node"
	}
	return ""
}

func (a *Authorizer) lease(_ context.Context, node string, r authorizer.Attributes) string {
	switch {
	case !among(r.GetVerb(), "get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a node lease"
	case r.GetNamespace() != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case r.GetVerb() != "create" && r.GetName() != node:
		return "can only access node lease with the same name as the requesting node"
	}
	return ""
}

func (a *Authorizer) certificateRequest(ctx context.Context, node string, r authorizer.Attributes) string {
	verb := r.GetVerb()
	switch {
	case r.GetSubresource() != "":
		return "nodes may not access the status subresource of PodCertificateRequests"
	case verb == "create":
		return ""
	case verb == "get":
		return a.related(ctx, node, r)
	case !among(verb, "list", "watch"):
		return fmt.Sprintf("nodes may not %s podcertificaterequests", verb)
	case !selects(r, "spec.nodeName", node):
		return "can only list/watch podcertificaterequests with nodeName field selector"
	}
	return ""
}

// selects says whether the request is limited to objects whose field has the value.
func selects(r authorizer.Attributes, field, value string) bool {
	requirements, _ := r.GetFieldSelector()
	for _, requirement := range requirements {
		if requirement.Field == field && requirement.Value == value &&
			(requirement.Operator == selection.Equals || requirement.Operator == selection.DoubleEquals) {
			return true
		}
	}
	return false
}
