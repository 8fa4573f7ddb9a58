package clientcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"reflect"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
)

// signer is a certificate with its key.
type signer struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// sign makes a certificate that lives from one hour to another, counted from begin; by nil
// it signs itself.
func sign(t testing.TB, by *signer, name string, from, until int, usage ...x509.ExtKeyUsage) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(mathrand.Int64()), Subject: pkix.Name{CommonName: name, Organization: []string{"people"}},
		NotBefore: at(from), NotAfter: at(until), ExtKeyUsage: usage,
		BasicConstraintsValid: true, IsCA: len(usage) == 0, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent := &signer{template, key}
	if by != nil {
		parent = by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{made, key}
}

var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func at(hour int) time.Time { return begin.Add(time.Duration(hour) * time.Hour) }

func pool(of ...*signer) *x509.CertPool {
	p := x509.NewCertPool()
	for _, one := range of {
		p.AddCert(one.Certificate)
	}
	return p
}

func showing(shown ...*signer) *http.Request {
	state := &tls.ConnectionState{}
	for _, one := range shown {
		state.PeerCertificates = append(state.PeerCertificates, one.Certificate)
	}
	return &http.Request{TLS: state}
}

func byName(options x509request.VerifyOptionFunc) authenticator.Request {
	return x509request.NewDynamic(options, x509request.CommonNameUserConversion)
}

// TestSame asks with and without memory the same, while time and authorities change.
func TestSame(t *testing.T) {
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))

	one, other := sign(t, nil, "one", 0, 100), sign(t, nil, "other", 0, 60)
	// The way of this one's certificates ends before they do.
	between := sign(t, one, "between", 10, 40)
	client := x509.ExtKeyUsageClientAuth
	people := [][]*signer{
		{sign(t, one, "anna", 0, 50, client)},
		{sign(t, other, "bert", 20, 90, client)},
		{sign(t, between, "cleo", 0, 90, client), between},
		{sign(t, between, "dora", 0, 90, client)},
		{sign(t, one, "emil", 0, 90, x509.ExtKeyUsageServerAuth)},
		{sign(t, sign(t, nil, "one", 0, 100), "fake", 0, 90, client)},
		{},
	}
	pools := []*x509.CertPool{pool(one), pool(other), pool(one, other), pool()}

	var options x509.VerifyOptions
	var known bool
	give := func() (x509.VerifyOptions, bool) { return options, known }
	remembering, plain := New(give, byName), byName(give)
	allowed := 0
	for range 1500 {
		known = random.IntN(50) > 0
		options = x509.VerifyOptions{
			Roots: pools[random.IntN(len(pools))], CurrentTime: at(random.IntN(110) - 5).Add(time.Minute),
			KeyUsages: []x509.ExtKeyUsage{client},
		}
		who := people[random.IntN(len(people))]
		want, wantOK, wantErr := plain.AuthenticateRequest(showing(who...))
		got, gotOK, gotErr := remembering.AuthenticateRequest(showing(who...))
		if gotOK != wantOK || !reflect.DeepEqual(got, want) || (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("got %v, %v, %v, want %v, %v, %v", got, gotOK, gotErr, want, wantOK, wantErr)
		}
		if gotErr != nil && gotErr.Error() != wantErr.Error() {
			t.Fatalf("got the error %q, want %q", gotErr, wantErr)
		}
		if gotOK {
			allowed++
		}
	}
	if allowed == 0 {
		t.Error("nobody was ever let in")
	}
}

// TestRemembers has a certificate verified once for each of its authorities.
func TestRemembers(t *testing.T) {
	root := sign(t, nil, "root", 0, 100)
	anna := sign(t, root, "anna", 0, 50, x509.ExtKeyUsageClientAuth)
	options := x509.VerifyOptions{Roots: pool(root), CurrentTime: at(1), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	made := -1 // the one that follows the whole way
	a := New(func() (x509.VerifyOptions, bool) { return options, true }, func(f x509request.VerifyOptionFunc) authenticator.Request {
		made++
		return byName(f)
	})
	ask := func(want bool) {
		t.Helper()
		if _, ok, err := a.AuthenticateRequest(showing(anna)); ok != want {
			t.Errorf("got %v, %v, want %v", ok, err, want)
		}
	}
	ask(true)
	ask(true)
	if made != 1 {
		t.Errorf("verified %d times, want once", made)
	}
	options.Roots = pool(root)
	ask(true)
	if made != 2 {
		t.Errorf("after a reload verified %d times, want twice", made)
	}
	options.Roots = pool(sign(t, nil, "new", 0, 100))
	ask(false)
	options.Roots, options.CurrentTime = pool(root), at(51)
	ask(false)
}

func BenchmarkAuthenticate(b *testing.B) {
	root := sign(b, nil, "root", 0, 100)
	anna := sign(b, root, "anna", 0, 50, x509.ExtKeyUsageClientAuth)
	options := x509.VerifyOptions{Roots: pool(root), CurrentTime: at(1), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	give := func() (x509.VerifyOptions, bool) { return options, true }
	for name, a := range map[string]authenticator.Request{"full": byName(give), "remembered": New(give, byName)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, ok, err := a.AuthenticateRequest(showing(anna)); !ok {
					b.Fatal(err)
				}
			}
		})
	}
}
