package differential

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

const (
	gpu      v1.ResourceName = "example.com/gpu"
	fpga     v1.ResourceName = "example.com/fpga"
	hugePage v1.ResourceName = "hugepages-2Mi"
)

var (
	namespaces = []string{"default", "team-a", "team-b", "bare"}
	images     = []string{"small", "registry.example/large:v2", "registry.example:5000/plain", "huge:latest", "rare:v1", "nowhere:v1"}
	keys       = []string{v1.LabelHostname, v1.LabelTopologyZone, v1.LabelTopologyRegion, "rack"}
)

// cluster is what a case is made of, and what has become of it.
type cluster struct {
	dice
	nodes     []*v1.Node
	running   []*v1.Pod
	templates []func(name string) *v1.Pod
	made      int
	// expects says that pods are nominated to nodes at times, which makes a scheduler look twice.
	expects bool
}

func newCluster(d dice) *cluster {
	c := &cluster{dice: d, expects: d.chance(30)}
	for range d.between(2, 24) {
		c.nodes = append(c.nodes, c.node(c.name("node")))
	}
	for range d.between(2, 6) {
		c.templates = append(c.templates, c.template())
	}
	for range d.between(0, 30) {
		pod := c.pod()
		pod.Spec.NodeName = pick(d, c.nodes...).Name
		if d.chance(10) {
			terminate(pod)
		}
		c.running = append(c.running, pod)
	}
	return c
}

func (c *cluster) name(kind string) string {
	c.made++
	return fmt.Sprintf("%s-%03d", kind, c.made)
}

// start is everything that is there before the first pod is judged.
func (c *cluster) start() Request {
	r := Request{Reset: true}
	for _, name := range namespaces {
		r.Set = append(r.Set, c.namespace(name))
	}
	for _, name := range namespaces[:2] {
		for range c.IntN(3) {
			r.Set = append(r.Set, c.service(name))
		}
		r.Set = append(r.Set, owners(name)...)
	}
	for _, node := range c.nodes {
		r.Set = append(r.Set, node)
	}
	for _, pod := range c.running {
		r.Set = append(r.Set, pod)
	}
	return r
}

func meta(kind string, namespace, name string) (metav1.TypeMeta, metav1.ObjectMeta) {
	version := "v1"
	if kind == "ReplicaSet" || kind == "StatefulSet" {
		version = "apps/v1"
	}
	return metav1.TypeMeta{APIVersion: version, Kind: kind}, metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name)}
}

func (c *cluster) namespace(name string) *v1.Namespace {
	n := &v1.Namespace{}
	n.TypeMeta, n.ObjectMeta = meta("Namespace", "", name)
	n.Labels = map[string]string{v1.LabelMetadataName: name}
	if name != "bare" {
		n.Labels["team"] = pick(c.dice, "a", "b")
		n.Labels["stage"] = pick(c.dice, "test", "production")
	}
	return n
}

func (c *cluster) service(namespace string) *v1.Service {
	s := &v1.Service{}
	s.TypeMeta, s.ObjectMeta = meta("Service", namespace, c.name("service"))
	s.Spec.Selector = map[string]string{"app": pick(c.dice, apps...)}
	if c.chance(30) {
		s.Spec.Selector["tier"] = "front"
	}
	return s
}

// owners are the controllers that pods may name.
func owners(namespace string) []runtime.Object {
	rs, ss, rc := &appsv1.ReplicaSet{}, &appsv1.StatefulSet{}, &v1.ReplicationController{}
	rs.TypeMeta, rs.ObjectMeta = meta("ReplicaSet", namespace, "web-set")
	rs.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	ss.TypeMeta, ss.ObjectMeta = meta("StatefulSet", namespace, "db-set")
	ss.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"db", "cache"}}}}
	rc.TypeMeta, rc.ObjectMeta = meta("ReplicationController", namespace, "cache-set")
	rc.Spec.Selector = map[string]string{"app": "cache"}
	return []runtime.Object{rs, ss, rc}
}

func (c *cluster) node(name string) *v1.Node {
	n := &v1.Node{}
	n.TypeMeta, n.ObjectMeta = meta("Node", "", name)
	n.Labels = map[string]string{v1.LabelHostname: name}
	if c.chance(5) {
		delete(n.Labels, v1.LabelHostname)
	}
	if c.chance(85) {
		n.Labels[v1.LabelTopologyZone] = pick(c.dice, "zone-1", "zone-2", "zone-3")
	}
	if c.chance(70) {
		n.Labels[v1.LabelTopologyRegion] = pick(c.dice, "north", "south")
	}
	if c.chance(50) {
		n.Labels["rack"] = strconv.Itoa(c.IntN(5))
	}
	if c.chance(60) {
		n.Labels["disk"] = pick(c.dice, "ssd", "hdd", "none")
	}
	if c.chance(50) {
		n.Labels["generation"] = pick(c.dice, "1", "2", "7", "odd")
	}
	c.taint(n)
	c.equip(n)
	return n
}

func (c *cluster) taint(n *v1.Node) {
	n.Spec.Taints, n.Spec.Unschedulable = nil, false
	if c.chance(25) {
		for range c.between(1, 3) {
			n.Spec.Taints = append(n.Spec.Taints, v1.Taint{
				Key: pick(c.dice, taintKeys...), Value: pick(c.dice, "", "yes", "3", "7"),
				Effect: pick(c.dice, v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectNoExecute),
			})
		}
	}
	if c.chance(6) {
		n.Spec.Unschedulable = true
		if c.chance(70) {
			n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule})
		}
	}
}

var taintKeys = []string{"dedicated", "flaky", "example.com/level"}

func (c *cluster) equip(n *v1.Node) {
	offer := v1.ResourceList{
		v1.ResourceCPU:    resource.MustParse(pick(c.dice, "1", "2", "3500m", "4", "8", "16")),
		v1.ResourceMemory: resource.MustParse(pick(c.dice, "1Gi", "2Gi", "4000M", "8Gi", "32Gi")),
		v1.ResourcePods:   resource.MustParse(pick(c.dice, "2", "5", "10", "110", "110")),
	}
	if c.chance(70) {
		offer[v1.ResourceEphemeralStorage] = resource.MustParse(pick(c.dice, "1Gi", "20Gi"))
	}
	if c.chance(30) {
		offer[gpu] = resource.MustParse(pick(c.dice, "1", "2", "4"))
	}
	if c.chance(15) {
		offer[fpga] = resource.MustParse(pick(c.dice, "0", "3"))
	}
	if c.chance(15) {
		offer[hugePage] = resource.MustParse(pick(c.dice, "0", "64Mi", "256Mi"))
	}
	n.Status.Allocatable, n.Status.Capacity = offer, offer
	n.Status.Images = nil
	for i, name := range images[:5] {
		if c.chance(60 - 10*i) {
			n.Status.Images = append(n.Status.Images, v1.ContainerImage{
				Names:     []string{name + tagOf(name), name + "@sha256:0123"},
				SizeBytes: []int64{5 << 20, 300 << 20, 90 << 20, 2500 << 20, 700 << 20}[i],
			})
		}
	}
}

// tagOf is the tag that a node reports for an image that was named without one.
func tagOf(image string) string {
	if image == images[0] || image == images[2] {
		return ":latest"
	}
	return ""
}

func terminate(pod *v1.Pod) {
	pod.DeletionTimestamp = &metav1.Time{Time: metav1.Unix(1<<30, 0).Time}
	pod.DeletionGracePeriodSeconds = ref(int64(30))
}
