package cluster

import (
	"fmt"
	"net/netip"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/pki"
)

const (
	pkiDirectory = "/etc/kubernetes/pki"
	confFormat   = "/etc/kubernetes/%s.conf"
	adminUser    = "kubernetes-admin"
)

// credentials are the authorities and keys of a cluster.
type credentials struct {
	ca, frontProxy     *pki.Authority
	signing, verifying []byte
	admin              pki.Pair
}

func newCredentials() (*credentials, error) {
	var c credentials
	var err error
	if c.ca, err = pki.NewAuthority("kubernetes-ca"); err != nil {
		return nil, err
	}
	if c.frontProxy, err = pki.NewAuthority("kubernetes-front-proxy-ca"); err != nil {
		return nil, err
	}
	if c.signing, c.verifying, err = pki.NewSigningKey(); err != nil {
		return nil, err
	}
	c.admin, err = c.ca.Client(adminUser, "system:masters")
	return &c, err
}

// fileSet collects the files of a machine and the first error on the way.
type fileSet struct {
	credentials *credentials
	files       map[string]string
	err         error
}

func (f *fileSet) put(path string, content []byte, err error) {
	if f.err == nil && err != nil {
		f.err = fmt.Errorf("%s: %w", path, err)
	}
	f.files[path] = string(content)
}

func (f *fileSet) putPair(name string, pair pki.Pair, err error) {
	f.put(pkiDirectory+"/"+name+".crt", pair.Cert, err)
	f.put(pkiDirectory+"/"+name+".key", pair.Key, err)
}

// putConf writes a kubeconfig for a user.
func (f *fileSet) putConf(name, server, user string, groups ...string) {
	pair, err := f.credentials.ca.Client(user, groups...)
	if err != nil {
		f.put(fmt.Sprintf(confFormat, name), nil, err)
		return
	}
	data, err := pki.Kubeconfig("cluster", server, f.credentials.ca.Cert, pki.Identity{User: user, Pair: pair})
	f.put(fmt.Sprintf(confFormat, name), data, err)
}

// controlPlaneFiles are the keys, certificates and kubeconfigs of the control plane.
func (c *Cluster) controlPlaneFiles() (map[string]string, error) {
	keys, server := c.credentials, c.server()
	f := &fileSet{credentials: keys, files: map[string]string{}}
	f.putPair("ca", keys.ca.Pair, nil)
	f.put(pkiDirectory+"/front-proxy-ca.crt", keys.frontProxy.Cert, nil)
	f.put(pkiDirectory+"/sa.key", keys.signing, nil)
	f.put(pkiDirectory+"/sa.pub", keys.verifying, nil)
	domain := c.spec.Spec.Network.Domain
	pair, err := keys.ca.Server("kube-apiserver", "localhost", "127.0.0.1", v1alpha1.ControlPlaneName, c.addresses.controlPlane.String(),
		c.addresses.kubernetes.String(), "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+domain)
	f.putPair("apiserver", pair, err)
	pair, err = keys.ca.Client("kube-apiserver-kubelet-client", "system:masters")
	f.putPair("apiserver-kubelet-client", pair, err)
	pair, err = keys.frontProxy.Client("front-proxy-client")
	f.putPair("front-proxy-client", pair, err)
	f.putConf("controller-manager", server, "system:kube-controller-manager")
	f.putConf("scheduler", server, "system:kube-scheduler")
	f.putConf("proxy", server, "system:kube-proxy")
	if c.spec.Spec.Hollow != nil {
		// It speaks for many nodes, and makes them.
		f.putConf("hollow", server, "system:plumb-hollow", "system:masters")
	}
	f.putConf("admin", server, adminUser, "system:masters")
	return f.files, f.err
}

// nodeFiles are the certificates and kubeconfigs of a node.
func (c *Cluster) nodeFiles(name string, address netip.Addr) (map[string]string, error) {
	f := &fileSet{credentials: c.credentials, files: map[string]string{}}
	f.put(pkiDirectory+"/ca.crt", c.credentials.ca.Cert, nil)
	pair, err := c.credentials.ca.Server("system:node:"+name, name, address.String())
	f.putPair("kubelet", pair, err)
	f.putConf("kubelet", c.server(), "system:node:"+name, "system:nodes")
	f.putConf("proxy", c.server(), "system:kube-proxy")
	return f.files, f.err
}

// server is where the cluster's own machines reach the API.
func (c *Cluster) server() string {
	return "https://" + netip.AddrPortFrom(c.addresses.controlPlane, apiPort).String()
}
