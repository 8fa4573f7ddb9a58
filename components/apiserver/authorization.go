package apiserver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"

	"github.com/plumbline/plumbline/components/apiserver/authorization/node"
	"github.com/plumbline/plumbline/components/apiserver/authorization/policy"
	"github.com/plumbline/plumbline/components/apiserver/authorization/rbac"
	"github.com/plumbline/plumbline/components/apiserver/inprocess"
)

// Values of --authorization-mode.
const (
	ModeAlwaysAllow = "AlwaysAllow"
	ModeAlwaysDeny  = "AlwaysDeny"
	ModeNode        = "Node"
	ModeRBAC        = "RBAC"
)

var knownModes = sets.New(ModeAlwaysAllow, ModeAlwaysDeny, ModeNode, ModeRBAC)

// newAuthorizer asks the modes in turn. Members of system:masters may do everything,
// whatever the modes, so that a cluster can be mended.
func (s *server) newAuthorizer() (authorizer.Authorizer, authorizer.RuleResolver, error) {
	authorizers := []union.NamedAuthorizer{{AuthorizerName: "system:masters", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)}}
	var resolvers []authorizer.RuleResolver
	for _, mode := range s.config.AuthorizationModes {
		decider, err := s.newMode(mode)
		if err != nil {
			return nil, nil, err
		}
		if decider == nil {
			continue
		}
		authorizers = append(authorizers, union.NamedAuthorizer{AuthorizerName: mode, Authorizer: decider})
		if resolver, ok := decider.(authorizer.RuleResolver); ok {
			resolvers = append(resolvers, resolver)
		}
	}
	all, err := union.New(authorizers...)
	return all, union.NewRuleResolvers(resolvers...), err
}

func (s *server) newMode(mode string) (authorizer.Authorizer, error) {
	switch mode {
	case ModeAlwaysAllow:
		return authorizerfactory.NewAlwaysAllowAuthorizer(), nil
	case ModeAlwaysDeny:
		return authorizerfactory.NewAlwaysDenyAuthorizer(), nil
	case ModeNode:
		rules, err := policy.RulesOf("system:node", s.features)
		return node.New(nodeObjects{s.direct}, rules), err
	case ModeRBAC:
		return rbac.New(s.informers.Rbac().V1(), s.rolesReady)
	}
	return nil, nil
}

// nodeObjects reads what the node authorizer looks at from the stores.
type nodeObjects struct{ inprocess.Stores }

// PodsOn lists by the watch cache's index.
func (n nodeObjects) PodsOn(ctx context.Context, node string, latest bool) ([]*corev1.Pod, error) {
	list, err := n.Select(ctx, corev1.Resource("pods"), fields.OneTermEqualSelector("spec.nodeName", node), latest)
	if err != nil {
		return nil, err
	}
	items := list.(*corev1.PodList).Items
	pods := make([]*corev1.Pod, len(items))
	for i := range items {
		pods[i] = &items[i]
	}
	return pods, nil
}
