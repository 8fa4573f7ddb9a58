// Package clientcert spares requests the verification of a client certificate that has been
// verified before. A connection shows the same certificate with each of its requests, and
// following it to an authority is most of what an authentication costs.
package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/utils/lru"
)

// remembered is how many certificates are, those least seen forgotten first: more than a
// large cluster's nodes have.
const remembered = 1 << 13

// Maker makes an authenticator that verifies clients' certificates by options.
type Maker func(options x509request.VerifyOptionFunc) authenticator.Request

// Authenticator decides as the one of its Maker would with the same options.
type Authenticator struct {
	options x509request.VerifyOptionFunc
	make    Maker
	// full follows a certificate to an authority.
	full authenticator.Request
	// known are *verified by the digest of all that was shown.
	known *lru.Cache
}

var _ authenticator.Request = &Authenticator{}

// New remembers certificates that options have verified for as long as the options name the
// same authorities.
func New(options x509request.VerifyOptionFunc, make Maker) *Authenticator {
	return &Authenticator{options: options, make: make, full: make(options), known: lru.New(remembered)}
}

// verified is a certificate that some authorities vouch for.
type verified struct {
	roots *x509.CertPool
	// from and until bound the time in which everybody on the way to the authority may vouch.
	from, until time.Time
	// short trusts the certificate itself; whether it may be used, and now, is still asked.
	short authenticator.Request
}

func (v *verified) holds(options x509.VerifyOptions) bool {
	now := options.CurrentTime
	if now.IsZero() {
		now = time.Now()
	}
	return v.roots == options.Roots && !now.Before(v.from) && !now.After(v.until)
}

// AuthenticateRequest takes the short way for a certificate that has been verified.
func (a *Authenticator) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	options, ok := a.options()
	if !ok || options.Roots == nil || req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return a.full.AuthenticateRequest(req)
	}
	shown := req.TLS.PeerCertificates
	digest := digestOf(shown)
	if known, ok := a.known.Get(digest); ok {
		if known := known.(*verified); known.holds(options) {
			return known.short.AuthenticateRequest(req)
		}
	}
	known := a.verify(shown, options)
	if known == nil {
		// Whatever is wrong with it, the full way says.
		return a.full.AuthenticateRequest(req)
	}
	a.known.Add(digest, known)
	return known.short.AuthenticateRequest(req)
}

// digestOf is of the certificates that help to verify the first as well: without them it
// may not get to the authority.
func digestOf(shown []*x509.Certificate) [sha256.Size]byte {
	if len(shown) == 1 {
		return sha256.Sum256(shown[0].Raw)
	}
	sum := sha256.New()
	for _, one := range shown {
		sum.Write(one.Raw)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// verify follows the first certificate shown to an authority; nil if it does not get there.
func (a *Authenticator) verify(shown []*x509.Certificate, options x509.VerifyOptions) *verified {
	if options.Intermediates == nil && len(shown) > 1 {
		options.Intermediates = x509.NewCertPool()
		for _, one := range shown[1:] {
			options.Intermediates.AddCert(one)
		}
	}
	chains, err := shown[0].Verify(options)
	if err != nil {
		return nil
	}
	v := &verified{roots: options.Roots}
	for i, one := range chains[0] {
		if i == 0 || one.NotBefore.After(v.from) {
			v.from = one.NotBefore
		}
		if i == 0 || one.NotAfter.Before(v.until) {
			v.until = one.NotAfter
		}
	}
	itself := x509.NewCertPool()
	itself.AddCert(shown[0])
	v.short = a.make(func() (x509.VerifyOptions, bool) {
		options, ok := a.options()
		options.Roots = itself
		return options, ok
	})
	return v
}
