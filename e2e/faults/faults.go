// Package faults holds the specs of clusters whose components fail: one that is killed,
// one that is another program than it should be, and pods that need no API server.
package faults

import (
	"github.com/onsi/ginkgo/v2"

	"github.com/plumbline/plumbline/e2e/suite"
)

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("faults", func() {
		killSpecs(s)
		swapSpecs(s)
		staticPodSpecs(s)
	})
}
