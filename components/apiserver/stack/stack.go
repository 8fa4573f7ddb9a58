// Package stack gives goroutines that serve requests the stack that they will need at once. A goroutine begins with a
// small one, which is copied to one twice as large, frame by frame, each time that it does not suffice. A creation
// passes through three goroutines (that of its HTTP stream, that of the time limit, and that of the write), and each
// goes some sixty calls deep: copying was 8% of the server's processor time under a scheduler's load.
package stack

import (
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// room makes a stack 16 KiB large, which is the largest size that the runtime keeps some of for each processor.
const room = 12 << 10

// grow needs the room, and does nothing with it that a compiler could leave out.
//
//go:noinline
func grow(at int) byte {
	var frame [room]byte
	frame[at%room]++
	return frame[(at+1)%room]
}

// Handler serves requests on a stack that is large enough.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		grow(len(req.RequestURI))
		next.ServeHTTP(w, req)
	})
}

// Authenticator is the first that a request comes to in the goroutine of its time limit.
type Authenticator struct{ authenticator.Request }

// AuthenticateRequest implements authenticator.Request.
func (a Authenticator) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	grow(len(req.RequestURI))
	return a.Request.AuthenticateRequest(req)
}

// Creater is the first that is asked for something in the goroutine that writes a new object.
type Creater struct{ runtime.ObjectCreater }

// New implements runtime.ObjectCreater.
func (c Creater) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	grow(len(kind.Kind))
	return c.ObjectCreater.New(kind)
}
