package apiserver

import (
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"

	"github.com/plumbline/plumbline/components/apiserver/authorization/rbac"
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
	case ModeRBAC:
		return rbac.New(s.informers.Rbac().V1(), s.rolesReady)
	}
	return nil, nil
}
