package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/google/uuid"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options"
)

// loopbackLife is how long the certificate is good for by which the server knows itself.
const loopbackLife = 3 * 366 * 24 * time.Hour

// applyServing sets up the listener and the way by which the server reaches itself. The
// library's own makes two RSA keys for the latter, which takes a good part of a start, and
// now and then several times as long.
func (s *server) applyServing() error {
	g := s.generic
	if err := s.config.Serving.ApplyTo(&g.SecureServing); err != nil {
		return err
	}
	expires := time.Now().Add(loopbackLife)
	certificate, key, err := newLoopbackPair(genericapiserver.LoopbackClientServerNameOverride, expires)
	if err != nil {
		return fmt.Errorf("certificate of the loopback connection: %w", err)
	}
	own, err := dynamiccertificates.NewStaticSNICertKeyContent("self-signed loopback", certificate, key, genericapiserver.LoopbackClientServerNameOverride)
	if err != nil {
		return fmt.Errorf("certificate of the loopback connection: %w", err)
	}
	// The first that fits a name is taken, and this name is nobody else's.
	g.SecureServing.SNICerts = append([]dynamiccertificates.SNICertKeyContentProvider{own}, g.SecureServing.SNICerts...)
	if g.LoopbackClientConfig, err = g.SecureServing.NewLoopbackClientConfig(uuid.NewString(), certificate); err != nil {
		return err
	}
	fresh := healthz.NamedCheck("loopback-serving-certificate", func(*http.Request) error {
		if time.Now().Before(expires) {
			return nil
		}
		return options.LoopbackCertificateExpiredError{}
	})
	g.AddHealthzChecks(fresh)
	g.AddLivezChecks(fresh)
	return nil
}

// newLoopbackPair makes a certificate that vouches for itself, and its key, both as PEM.
func newLoopbackPair(host string, expires time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		// Clocks go wrong; this is no reason for a server not to trust itself.
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              expires,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}
