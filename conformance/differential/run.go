package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// podsPerCase is how many pods are judged in a cluster, one after the other, each placed before the next.
const podsPerCase = 25

// Difference is a pod that two schedulers judge differently.
type Difference struct {
	Seed uint64
	Pod  *v1.Pod
	// Step is how many pods were judged before it in its cluster.
	Step  int
	Words []string
}

// String tells the difference and how to see it again.
func (d Difference) String() string {
	spec, _ := json.Marshal(d.Pod)
	text := fmt.Sprintf("seed %d, pod %d:\n", d.Seed, d.Step)
	for _, word := range d.Words {
		text += "  " + word + "\n"
	}
	return text + "  pod " + string(spec)
}

// Result sums up a comparison.
type Result struct {
	Pods, Cases int
	// Placed pods had a feasible node; Choices are the pairs of pod and node that were compared.
	Placed, Choices int
	Differences     []Difference
}

// Run judges so many pods in clusters made from the seed and the numbers that follow it. A cluster in which the
// schedulers differ is left at the first difference.
func Run(ctx context.Context, ours, theirs Contender, seed uint64, pods int) (Result, error) {
	var sum Result
	for ; sum.Pods < pods && ctx.Err() == nil; seed++ {
		if err := runCase(ours, theirs, seed, min(podsPerCase, pods-sum.Pods), &sum); err != nil {
			return sum, fmt.Errorf("seed %d: %w", seed, err)
		}
		sum.Cases++
	}
	return sum, ctx.Err()
}

func runCase(ours, theirs Contender, seed uint64, pods int, sum *Result) error {
	c := newCluster(newDice(seed))
	tell := func(r Request) error {
		if err := ours.Tell(r); err != nil {
			return err
		}
		return theirs.Tell(r)
	}
	if err := tell(c.start()); err != nil {
		return err
	}
	for step := range pods {
		pod := c.pod()
		mine, err := ours.Judge(pod)
		if err != nil {
			return err
		}
		other, err := theirs.Judge(pod)
		if err != nil {
			return err
		}
		sum.Pods++
		sum.Choices += len(other.Nodes) + len(other.Feasible)
		if words := Compare(mine, other); len(words) > 0 {
			sum.Differences = append(sum.Differences, Difference{Seed: seed, Pod: pod, Step: step, Words: words})
			return nil
		}
		if node := other.best(); node != "" {
			sum.Placed++
			pod.Spec.NodeName = node
			c.running = append(c.running, pod)
			if err := tell(Request{Set: []runtime.Object{pod}}); err != nil {
				return err
			}
		}
		if r, any := c.churn(); any {
			if err := tell(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// churn is what happens to the cluster between two pods.
func (c *cluster) churn() (Request, bool) {
	var r Request
	if len(c.running) > 0 && c.chance(12) {
		i := c.IntN(len(c.running))
		r.Delete = append(r.Delete, c.running[i])
		c.running = slices.Delete(c.running, i, i+1)
	}
	if len(c.running) > 0 && c.chance(8) {
		i := c.IntN(len(c.running))
		pod := c.running[i].DeepCopy()
		if c.chance(50) {
			terminate(pod)
		} else {
			pod.Labels = c.podLabels()
		}
		c.running[i] = pod
		r.Set = append(r.Set, pod)
	}
	if c.chance(8) {
		i := c.IntN(len(c.nodes))
		node := c.node(c.nodes[i].Name)
		if c.chance(60) {
			node.Labels = c.nodes[i].Labels
		}
		c.nodes[i] = node
		r.Set = append(r.Set, node)
	}
	if c.chance(3) {
		node := c.node(c.name("node"))
		c.nodes = append(c.nodes, node)
		r.Set = append(r.Set, node)
	}
	if len(c.nodes) > 2 && c.chance(3) {
		i := c.IntN(len(c.nodes))
		r.Delete = append(r.Delete, c.nodes[i])
		c.leave(c.nodes[i].Name, &r)
		c.nodes = slices.Delete(c.nodes, i, i+1)
	}
	if c.chance(3) {
		r.Set = append(r.Set, c.namespace(pick(c.dice, namespaces...)))
	}
	if c.chance(3) {
		r.Set = append(r.Set, c.service(pick(c.dice, namespaces...)))
	}
	if c.expects && c.chance(15) {
		pod := c.pod()
		r.Nominate = append(r.Nominate, Nomination{Pod: pod, Node: pick(c.dice, c.nodes...).Name})
	}
	return r, len(r.Set)+len(r.Delete)+len(r.Nominate) > 0
}

// leave removes the pods of a removed node, which nothing runs any more.
func (c *cluster) leave(node string, r *Request) {
	c.running = slices.DeleteFunc(c.running, func(pod *v1.Pod) bool {
		if pod.Spec.NodeName != node {
			return false
		}
		if !slices.ContainsFunc(r.Set, func(o runtime.Object) bool { p, ok := o.(*v1.Pod); return ok && p.UID == pod.UID }) {
			r.Delete = append(r.Delete, pod)
		}
		return true
	})
}
