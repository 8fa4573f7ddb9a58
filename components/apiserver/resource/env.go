package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/client-go/kubernetes"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

// Env is what resources may use of the API server they are part of. It is passed
// in; nothing here is global.
type Env struct {
	// Scheme knows every type that is served.
	Scheme *runtime.Scheme
	// Features are those that are on.
	Features features.Set
	// RESTOptions says how and where a resource is stored.
	RESTOptions generic.RESTOptionsGetter
	// Store is the finished store of another resource, for endpoints that write two
	// (binding, eviction). Only call it while serving, not while building.
	Store func(schema.GroupResource) (*genericregistry.Store, error)
	// Loopback is a client of this API server with all rights.
	Loopback kubernetes.Interface
	// Services hands out cluster addresses and node ports. Nil where the server has no
	// service range; Services then keep what they are created with.
	Services *ServiceRanges
	// Authenticator and Authorizer answer TokenReview and SubjectAccessReview.
	Authenticator authenticator.Request
	Authorizer    authorizer.Authorizer
	// Rules lists what somebody may do.
	Rules authorizer.RuleResolver
	// Audiences are those that tokens for this server name.
	Audiences authenticator.Audiences
}
