// Package accounttoken issues and verifies service-account tokens, and publishes the keys
// that verify them.
// See https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/.
package accounttoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	jose "gopkg.in/go-jose/go-jose.v2"
	"k8s.io/client-go/util/keyutil"
)

// Key verifies tokens.
type Key struct {
	ID        string
	Public    crypto.PublicKey
	Algorithm jose.SignatureAlgorithm
}

// newKey names a public key by the hash of its DER form, as upstream does, so that one cluster's
// tokens hold in the other.
func newKey(public crypto.PublicKey) (Key, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("public key of type %T: %w", public, err)
	}
	algorithm, err := algorithmOf(public)
	if err != nil {
		return Key{}, err
	}
	sum := sha256.Sum256(der)
	return Key{ID: base64.RawURLEncoding.EncodeToString(sum[:]), Public: public, Algorithm: algorithm}, nil
}

func algorithmOf(public crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		byCurve := map[elliptic.Curve]jose.SignatureAlgorithm{
			elliptic.P256(): jose.ES256, elliptic.P384(): jose.ES384, elliptic.P521(): jose.ES512,
		}
		if algorithm, ok := byCurve[key.Curve]; ok {
			return algorithm, nil
		}
		return "", fmt.Errorf("unknown private key curve, must be 256, 384, or 521")
	}
	return "", fmt.Errorf("unknown private key type %T, must be *rsa.PrivateKey, *ecdsa.PrivateKey", public)
}

// LoadKeys reads the public keys of PEM files; a private key counts as its public one.
func LoadKeys(files []string) ([]Key, error) {
	var keys []Key
	for _, file := range files {
		list, err := keyutil.PublicKeysFromFile(file)
		if err != nil {
			return nil, fmt.Errorf("service-account key file %s: %w", file, err)
		}
		for _, public := range list {
			key, err := newKey(public)
			if err != nil {
				return nil, fmt.Errorf("service-account key file %s: %w", file, err)
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// newSigner reads the private key of a PEM file.
func newSigner(file string) (jose.Signer, error) {
	private, err := keyutil.PrivateKeyFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("service-account signing key file %s: %w", file, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("service-account signing key file %s: a %T cannot sign", file, private)
	}
	key, err := newKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("service-account signing key file %s: %w", file, err)
	}
	return jose.NewSigner(jose.SigningKey{
		Algorithm: key.Algorithm,
		Key:       jose.JSONWebKey{Algorithm: string(key.Algorithm), Key: private, KeyID: key.ID, Use: "sig"},
	}, nil)
}
