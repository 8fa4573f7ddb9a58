// Package own boots clusters for specs that break machines, so that the cluster which
// the other specs share stays whole.
package own

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

// Label selects the specs that boot a cluster, or leaves them out.
const Label = "own-cluster"

// Describe is a cluster of a number of nodes that is named after a spec and this process.
// It has no DNS, which these specs do not need.
func Describe(spec string, nodes int) *v1alpha1.Cluster {
	description := v1alpha1.New(fmt.Sprintf("%s-%d", spec, os.Getpid()), nodes)
	description.Spec.Addons.DNS = ptr.To(false)
	return description
}

// Boot boots a cluster that ends with the running spec, or with the container whose
// BeforeAll calls it. Where the cluster under test is not this host's, a cluster made of
// this host's components says nothing about it, and the spec is skipped.
func Boot(ctx context.Context, under *suite.Suite, description *v1alpha1.Cluster) (*suite.Suite, *cluster.Cluster) {
	ginkgo.GinkgoHelper()
	under.OwnMachines()
	c, err := cluster.New(ctx, description)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(c.Down)
	s, err := suite.Connect(ctx, filepath.Join(c.Directory(), cluster.KubeconfigFile), nil)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return s, c
}
