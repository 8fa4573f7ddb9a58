package incluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/preflight"
	"github.com/plumbline/plumbline/conformance/runner"
	"github.com/plumbline/plumbline/conformance/session"
	"github.com/plumbline/plumbline/conformance/suite"
)

// Share is one pod's part of a run.
type Share struct {
	// Order is the directory with the order, Work one to write to.
	Order, Work string
	// Index is the pod's in its Job.
	Index int
	Tools session.Tools
	// Out is the pod's log.
	Out io.Writer
}

// Run runs the share and tells of it. It returns nil when there is a verdict on all of
// it, whatever the verdicts are.
func (s Share) Run(ctx context.Context) error {
	o, err := readOrder(s.Order)
	if err != nil {
		return fmt.Errorf("the order: %w", err)
	}
	version, err := session.Version(ctx, catalogue.Kubernetes, s.Tools)
	if err != nil {
		return err
	}
	if version != o.Version {
		return fmt.Errorf("the image's suite is of version %s, the run's of %s: take an image that was made by the plumb that runs", version, o.Version)
	}
	listing, err := suite.Program{Path: s.Tools.Suite}.List(ctx, s.Tools.Store)
	if err != nil {
		return err
	}
	items, err := o.share(s.Index, listing)
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(s.Work, "kubeconfig")
	if err := writeKubeconfig(kubeconfig); err != nil {
		return err
	}
	cluster, err := preflight.Connect(ctx, kubeconfig)
	if err != nil {
		return err
	}
	j, err := journal.Open(filepath.Join(s.Work, "journal.jsonl"))
	if err != nil {
		return err
	}
	defer j.Close()
	dir := filepath.Join(s.Work, "processes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	teller := &teller{out: s.Out}
	target := session.Target{Kubeconfig: kubeconfig}
	err = runner.Run(ctx, runner.Config{
		Clusters: []runner.Cluster{{Program: target.Program(catalogue.Kubernetes, s.Tools, s.Work, len(cluster.Nodes)), Alive: cluster.Alive}},
		Listing:  listing, Items: items, Procs: o.Procs, Retries: o.Retries, Limits: o.Limits,
		Dir: dir, Journal: j, Events: teller.tell,
	})
	if err == nil {
		err = teller.failure()
	}
	return err
}

// writeKubeconfig writes down how pods reach their own cluster, since the suite hands a
// kubeconfig on to the programs that it starts.
func writeKubeconfig(path string) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	const name = "own"
	file := clientcmdapi.NewConfig()
	file.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthority: config.CAFile}
	// The token is one that is renewed.
	file.AuthInfos[name] = &clientcmdapi.AuthInfo{TokenFile: config.BearerTokenFile}
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	file.CurrentContext = name
	return clientcmd.WriteToFile(*file, path)
}
