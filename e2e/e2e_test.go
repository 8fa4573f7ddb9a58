// Package e2e runs every suite against one cluster: the one that KUBECONFIG names, or
// else one that it boots out of this repository's components and takes down again.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/plumbline/plumbline/e2e/api"
	"github.com/plumbline/plumbline/e2e/apps"
	"github.com/plumbline/plumbline/e2e/cascade"
	"github.com/plumbline/plumbline/e2e/eviction"
	"github.com/plumbline/plumbline/e2e/faults"
	"github.com/plumbline/plumbline/e2e/network"
	"github.com/plumbline/plumbline/e2e/node"
	"github.com/plumbline/plumbline/e2e/scale"
	"github.com/plumbline/plumbline/e2e/scheduling"
	"github.com/plumbline/plumbline/e2e/storage"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/e2e/tutorial"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/supervisor"
)

// clusterVariable names a cluster of this host, by `plumb up`, that KUBECONFIG leads to.
// Its machines can be worked on, and its network entered; those of others cannot.
const clusterVariable = "PLUMB_CLUSTER"

// target is where the cluster under test is, for all processes of a run.
type target struct {
	Kubeconfig string
	Cluster    string
}

// connect makes what specs work with; the function returned ends it.
func (t target) connect(ctx context.Context) (*suite.Suite, func() error, error) {
	if t.Cluster == "" {
		s, err := suite.Connect(ctx, t.Kubeconfig, nil)
		return s, func() error { return nil }, err
	}
	machines, err := supervisor.Connect(t.Cluster)
	if err != nil {
		return nil, nil, err
	}
	outside, err := machines.Outside()
	if err != nil {
		return nil, nil, err
	}
	s, err := suite.Connect(ctx, t.Kubeconfig, outside)
	if err != nil {
		return nil, nil, errors.Join(err, outside.Close())
	}
	s.Machines = machines
	return s, outside.Close, nil
}

func TestE2E(t *testing.T) {
	gomega.RegisterFailHandler(ginkgo.Fail)
	log.SetLogger(ginkgo.GinkgoLogr)
	under := &suite.Suite{}
	leave, takeDown := func() error { return nil }, func() error { return nil }

	ginkgo.SynchronizedBeforeSuite(func(ctx context.Context) []byte {
		where := target{Kubeconfig: os.Getenv("KUBECONFIG"), Cluster: os.Getenv(clusterVariable)}
		if where.Kubeconfig == "" {
			var err error
			where, takeDown, err = boot(ctx)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
		data, err := json.Marshal(where)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		return data
	}, func(ctx context.Context, data []byte) {
		var where target
		gomega.Expect(json.Unmarshal(data, &where)).To(gomega.Succeed())
		connected, end, err := where.connect(ctx)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		*under, leave = *connected, end
		gomega.Expect(under.Settled(ctx)).To(gomega.Succeed())
	})
	ginkgo.SynchronizedAfterSuite(
		func() { gomega.Expect(leave()).To(gomega.Succeed()) },
		func() { gomega.Expect(takeDown()).To(gomega.Succeed()) },
	)

	api.Specs(under)
	apps.Specs(under)
	cascade.Specs(under)
	eviction.Specs(under)
	faults.Specs(under)
	network.Specs(under)
	node.Specs(under)
	scale.Specs(under)
	scheduling.Specs(under)
	storage.Specs(under)
	tutorial.Specs(under)
	ginkgo.RunSpecs(t, "Plumbline")
}

// boot makes the cluster of this run, with two nodes, which the run's other processes
// work on too. The function returned takes it down.
func boot(ctx context.Context) (target, func() error, error) {
	c, err := cluster.New(ctx, v1alpha1.New(fmt.Sprintf("e2e-%d", os.Getpid()), 2))
	if err != nil {
		return target{}, nil, err
	}
	stop, err := supervisor.Serve(c, c.Down)
	if err != nil {
		return target{}, nil, errors.Join(err, c.Down())
	}
	where := target{Kubeconfig: filepath.Join(c.Directory(), cluster.KubeconfigFile), Cluster: c.Name()}
	return where, func() error {
		stop()
		return c.Down()
	}, nil
}
