package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/conformance/suite"
)

// Cluster is one that a run has.
type Cluster struct {
	// Program is the suite as it is started against the cluster.
	Program suite.Program
	// Alive asks whether the cluster still answers; it is asked after a failure, since
	// failures against a cluster that is gone say nothing. Nil is not asked.
	Alive func(context.Context) error
}

// lane is what one cluster is given to do, part after part.
type lane struct {
	cluster Cluster
	parts   []part
}

// part is a number of attempts that are made by so many processes.
type part struct {
	attempts []attempt
	procs    int
}

// lanes deals the attempts out. One cluster takes what runs side by side and then what
// runs alone. Of several the first takes what runs side by side, and the others share
// what must run alone on its cluster, which it does as well if the rest is elsewhere.
func (c *Config) lanes(parallel, serial []attempt) []lane {
	first := lane{cluster: c.Clusters[0], parts: []part{{parallel, min(c.Procs, len(parallel))}}}
	if len(c.Clusters) == 1 {
		first.parts = append(first.parts, part{serial, 1})
		return []lane{first}
	}
	lanes := []lane{first}
	shares := share(serial, len(c.Clusters)-1)
	for i, attempts := range shares {
		lanes = append(lanes, lane{cluster: c.Clusters[i+1], parts: []part{{attempts, 1}}})
	}
	return lanes
}

// share deals attempts out evenly. Those of one file stay together and in order: specs
// that build on each other stand in one container.
func share(attempts []attempt, among int) [][]attempt {
	shares := make([][]attempt, among)
	taker := map[string]int{}
	for _, a := range attempts {
		to, known := taker[a.Spec.File]
		if !known {
			for i := range shares {
				if len(shares[i]) < len(shares[to]) {
					to = i
				}
			}
			taker[a.Spec.File] = to
		}
		shares[to] = append(shares[to], a)
	}
	return shares
}

// cluster is the one that a lane's configuration has.
func (c *Config) cluster() Cluster { return c.Clusters[0] }

// run takes the lanes side by side to their ends; the first error ends them all.
func (c *Config) run(ctx context.Context, lanes []lane) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, lane := range lanes {
		own := *c
		own.Clusters = []Cluster{lane.cluster}
		if i > 0 {
			own.Dir = filepath.Join(c.Dir, fmt.Sprintf("cluster-%d", i+1))
			if err := os.MkdirAll(own.Dir, 0o755); err != nil {
				return err
			}
		}
		group.Go(func() error {
			for _, p := range lane.parts {
				if err := runPart(ctx, &own, p.attempts, p.procs); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
