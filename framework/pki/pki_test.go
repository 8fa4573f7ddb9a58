package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func parse(t *testing.T, pair Pair) *x509.Certificate {
	t.Helper()
	if _, err := tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pair.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificatesVerify(t *testing.T) {
	ca, err := NewAuthority("kubernetes-ca")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewAuthority("kubernetes-ca")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Server("kube-apiserver", "kubernetes.default", "10.96.0.1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.Client("system:node:node-1", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	others.AppendCertsFromPEM(stranger.Cert)
	for _, host := range []string{"kubernetes.default", "10.96.0.1"} {
		if _, err := parse(t, server).Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Error(err)
		}
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert := parse(t, client)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usage}); err != nil {
		t.Error(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: others, KeyUsages: usage}); err == nil {
		t.Error("an authority of the same name verifies what it did not sign")
	}
	if _, err := parse(t, server).Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usage}); err == nil {
		t.Error("a serving certificate passes for a client's")
	}
	if cert.Subject.CommonName != "system:node:node-1" || !slices.Equal(cert.Subject.Organization, []string{"system:nodes"}) {
		t.Errorf("subject %s", cert.Subject)
	}
}

func TestKubeconfigLoads(t *testing.T) {
	ca, err := NewAuthority("ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Client("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	data, err := Kubeconfig("demo", "https://127.0.0.1:6443", ca.Cert, Identity{User: "admin", Pair: pair})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil || config.Host != "https://127.0.0.1:6443" || string(config.CAData) != string(ca.Cert) {
		t.Errorf("%+v %v", config, err)
	}
}
