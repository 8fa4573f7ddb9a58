package apiserver

import (
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
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
func newAuthorizer(modes []string) (authorizer.Authorizer, authorizer.RuleResolver, error) {
	authorizers := []union.NamedAuthorizer{{AuthorizerName: "system:masters", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)}}
	var resolvers []authorizer.RuleResolver
	for _, mode := range modes {
		switch mode {
		case ModeAlwaysAllow:
			allow := authorizerfactory.NewAlwaysAllowAuthorizer()
			authorizers, resolvers = append(authorizers, union.NamedAuthorizer{AuthorizerName: mode, Authorizer: allow}), append(resolvers, allow)
		case ModeAlwaysDeny:
			deny := authorizerfactory.NewAlwaysDenyAuthorizer()
			authorizers, resolvers = append(authorizers, union.NamedAuthorizer{AuthorizerName: mode, Authorizer: deny}), append(resolvers, deny)
		}
	}
	all, err := union.New(authorizers...)
	return all, union.NewRuleResolvers(resolvers...), err
}
