package connect

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// endpoint passes a request on to wherever locate says.
type endpoint struct {
	// object makes an empty object of the resource's or the options' kind.
	object func() runtime.Object
	// options makes empty options; with path set, the rest of the URL goes into them.
	options func() runtime.Object
	path    bool
	methods []string
	// upgrade says that nothing but a stream makes sense.
	upgrade bool
	locate  func(ctx context.Context, name string, options runtime.Object) (*url.URL, http.RoundTripper, error)
	// streams says which streams the options ask for; nil where there are none.
	streams func(options runtime.Object) translator.Options
	// tunnel carries SPDY through a WebSocket, for port-forward.
	tunnel     bool
	authorizer authorizer.Authorizer
}

var _ rest.Connecter = &endpoint{}

func (e *endpoint) New() runtime.Object { return e.object() }

func (e *endpoint) Destroy() {}

func (e *endpoint) ConnectMethods() []string { return e.methods }

func (e *endpoint) NewConnectOptions() (runtime.Object, bool, string) {
	if e.path {
		return e.options(), true, "path"
	}
	return e.options(), false, ""
}

func (e *endpoint) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	if e.upgrade {
		if err := e.mayCreate(ctx); err != nil {
			return nil, err
		}
	}
	location, transport, err := e.locate(ctx, name, options)
	if err != nil {
		return nil, err
	}
	plain := proxy.NewUpgradeAwareHandler(location, transport, !e.upgrade, e.upgrade, proxy.NewErrorResponder(responder))
	switch {
	case e.tunnel:
		return translator.NewTranslatingHandler(plain, translator.NewTunnelingHandler(plain), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
	case e.streams != nil:
		translated := translator.NewStreamTranslatorHandler(location, transport, 0, e.streams(options))
		return translator.NewTranslatingHandler(plain, translated, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
	}
	return plain, nil
}

// mayCreate asks for the right to "create" whatever the HTTP method is: a WebSocket begins with a
// GET, and the right to read must not be enough to run commands.
func (e *endpoint) mayCreate(ctx context.Context) error {
	attributes, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if attributes.GetVerb() == "create" {
		return nil
	}
	as, ok := attributes.(*authorizer.AttributesRecord)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("unexpected attributes %T", attributes))
	}
	create := *as
	create.Verb = "create"
	decision, reason, err := e.authorizer.Authorize(ctx, create)
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return forbidden(create, reason)
}
