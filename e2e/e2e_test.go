// Package e2e runs every suite against one cluster: the one that KUBECONFIG names, or
// else one that it boots out of this repository's components and takes down again.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/plumbline/plumbline/e2e/apps"
	"github.com/plumbline/plumbline/e2e/cascade"
	"github.com/plumbline/plumbline/e2e/eviction"
	"github.com/plumbline/plumbline/e2e/network"
	"github.com/plumbline/plumbline/e2e/scheduling"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/e2e/tutorial"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/fabric"
)

// doorVariable names a door onto the cluster's fabric, where KUBECONFIG names a cluster
// whose network this process does not share.
const doorVariable = "PLUMB_DOOR"

// target is where the cluster under test is, for all processes of a run.
type target struct {
	Kubeconfig string
	Door       string
}

func (t target) outside() suite.Outside {
	if t.Door == "" {
		return nil
	}
	return through(fabric.ThroughDoor(t.Door))
}

// through makes a dialer of a function.
type through fabric.Dialer

// DialContext implements suite.Outside.
func (t through) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return t(ctx, network, address)
}

func TestE2E(t *testing.T) {
	gomega.RegisterFailHandler(ginkgo.Fail)
	under := &suite.Suite{}
	var owned *cluster.Cluster

	ginkgo.SynchronizedBeforeSuite(func(ctx context.Context) []byte {
		where := target{Kubeconfig: os.Getenv("KUBECONFIG"), Door: os.Getenv(doorVariable)}
		if where.Kubeconfig == "" {
			var err error
			owned, where, err = boot(ctx)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
		data, err := json.Marshal(where)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		return data
	}, func(ctx context.Context, data []byte) {
		var where target
		gomega.Expect(json.Unmarshal(data, &where)).To(gomega.Succeed())
		connected, err := suite.Connect(ctx, where.Kubeconfig, where.outside())
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		*under = *connected
	})
	ginkgo.SynchronizedAfterSuite(func() {}, func() {
		if owned != nil {
			gomega.Expect(owned.Down()).To(gomega.Succeed())
		}
	})

	apps.Specs(under)
	cascade.Specs(under)
	eviction.Specs(under)
	network.Specs(under)
	scheduling.Specs(under)
	tutorial.Specs(under)
	ginkgo.RunSpecs(t, "Plumbline")
}

// boot makes the cluster of this run: two nodes, and a client on its fabric behind a door.
func boot(ctx context.Context) (*cluster.Cluster, target, error) {
	name := fmt.Sprintf("e2e-%d", os.Getpid())
	c, err := cluster.New(ctx, v1alpha1.New(name, 2))
	if err != nil {
		return nil, target{}, err
	}
	outside, err := c.NewClient()
	if err == nil {
		var door *fabric.Door
		if door, err = fabric.OpenDoor(outside.DialContext); err == nil {
			return c, target{Kubeconfig: filepath.Join(c.Directory(), cluster.KubeconfigFile), Door: door.Address()}, nil
		}
	}
	_ = c.Down()
	return nil, target{}, err
}
