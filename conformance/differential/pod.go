package differential

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod makes the next pod: mostly one of a template, as controllers do.
func (c *cluster) pod() *v1.Pod {
	make := c.template
	if c.chance(75) {
		chosen := pick(c.dice, c.templates...)
		return chosen(c.name("pod"))
	}
	return make()(c.name("pod"))
}

// template makes pods that differ in their names.
func (c *cluster) template() func(string) *v1.Pod {
	d := c.dice
	pod := &v1.Pod{}
	pod.TypeMeta, pod.ObjectMeta = meta("Pod", pick(d, append(namespaces, "default", "default", "default")...), "")
	pod.Labels = d.podLabels()
	pod.Spec.SchedulerName = v1.DefaultSchedulerName
	pod.Spec.RestartPolicy = v1.RestartPolicyAlways
	if d.chance(30) {
		pod.OwnerReferences = []metav1.OwnerReference{pick(d,
			metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-set", UID: "web-set", Controller: ref(true)},
			metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db-set", UID: "db-set", Controller: ref(true)},
			metav1.OwnerReference{APIVersion: "v1", Kind: "ReplicationController", Name: "cache-set", UID: "cache-set", Controller: ref(true)},
			metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "gone", UID: "gone", Controller: ref(true)},
			metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-set", UID: "web-set"},
		)}
	}
	d.containers(&pod.Spec)
	d.place(&pod.Spec)
	if d.chance(35) {
		d.tolerate(&pod.Spec)
	}
	if d.chance(35) {
		d.podAffinity(&pod.Spec)
	}
	if d.chance(35) {
		d.spread(&pod.Spec)
	}
	if d.chance(20) {
		pod.Spec.Priority = ref(int32(d.between(-1, 2) * 100))
	}
	return func(name string) *v1.Pod {
		made := pod.DeepCopy()
		made.Name, made.UID = name, types.UID(name)
		return made
	}
}

func (d dice) containers(spec *v1.PodSpec) {
	for range d.between(1, 3) {
		spec.Containers = append(spec.Containers, d.container(len(spec.Containers), 12))
	}
	if d.chance(25) {
		for range d.between(1, 3) {
			init := d.container(10+len(spec.InitContainers), 12)
			if d.chance(45) {
				init.RestartPolicy = ref(v1.ContainerRestartPolicyAlways)
			}
			spec.InitContainers = append(spec.InitContainers, init)
		}
	}
	if d.chance(10) {
		spec.Overhead = d.amounts(70)
	}
	if d.chance(12) {
		spec.Resources = &v1.ResourceRequirements{Requests: v1.ResourceList{}}
		if d.chance(70) {
			spec.Resources.Requests[v1.ResourceCPU] = resource.MustParse(pick(d, "500m", "1", "3"))
		}
		if d.chance(60) {
			spec.Resources.Requests[v1.ResourceMemory] = resource.MustParse(pick(d, "256Mi", "1Gi", "3Gi"))
		}
	}
	if d.chance(4) {
		spec.Volumes = append(spec.Volumes, v1.Volume{Name: "image", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: pick(d, images...)}}})
	}
}

func (d dice) container(n, ports int) v1.Container {
	c := v1.Container{Name: string(rune('a' + n)), Image: pick(d, images...)}
	if d.chance(80) {
		c.Resources.Requests = d.amounts(60)
	}
	if d.chance(ports) {
		for range d.between(1, 2) {
			port := int32(d.between(8080, 8083))
			c.Ports = append(c.Ports, v1.ContainerPort{
				ContainerPort: port, HostPort: port, HostIP: pick(d, "", "", "0.0.0.0", "127.0.0.1", "10.0.0.1"),
				Protocol: pick(d, v1.ProtocolTCP, v1.ProtocolTCP, v1.ProtocolUDP),
			})
		}
	}
	return c
}

func (d dice) amounts(percent int) v1.ResourceList {
	list := v1.ResourceList{}
	if d.chance(percent) {
		list[v1.ResourceCPU] = resource.MustParse(pick(d, "0", "1m", "50m", "100m", "333m", "500m", "1", "2"))
	}
	if d.chance(percent) {
		list[v1.ResourceMemory] = resource.MustParse(pick(d, "0", "1", "64Mi", "100M", "500Mi", "1Gi"))
	}
	if d.chance(10) {
		list[v1.ResourceEphemeralStorage] = resource.MustParse(pick(d, "0", "200Mi", "2Gi"))
	}
	if d.chance(6) {
		list[gpu] = resource.MustParse(pick(d, "0", "1", "2"))
	}
	if d.chance(3) {
		list[fpga] = resource.MustParse("1")
	}
	if d.chance(4) {
		list[hugePage] = resource.MustParse(pick(d, "0", "32Mi", "128Mi"))
	}
	return list
}

// place asks for nodes.
func (d dice) place(spec *v1.PodSpec) {
	if d.chance(15) {
		spec.NodeSelector = map[string]string{}
		for _, requirement := range some(d, 60, [2]string{"disk", "ssd"}, [2]string{v1.LabelTopologyRegion, "north"}) {
			spec.NodeSelector[requirement[0]] = requirement[1]
		}
	}
	if d.chance(65) {
		return
	}
	a := &v1.NodeAffinity{}
	if d.chance(60) {
		a.RequiredDuringSchedulingIgnoredDuringExecution = &v1.NodeSelector{}
		for range d.between(1, 2) {
			terms := &a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
			*terms = append(*terms, d.nodeTerm())
		}
	}
	for range d.IntN(3) {
		a.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PreferredDuringSchedulingIgnoredDuringExecution,
			v1.PreferredSchedulingTerm{Weight: int32(d.between(1, 100)), Preference: d.nodeTerm()})
	}
	spec.Affinity = &v1.Affinity{NodeAffinity: a}
}

func (d dice) nodeTerm() v1.NodeSelectorTerm {
	var term v1.NodeSelectorTerm
	if d.chance(3) {
		return term // selects nothing
	}
	if d.chance(10) {
		term.MatchFields = []v1.NodeSelectorRequirement{{
			Key: metav1.ObjectNameField, Operator: pick(d, v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn), Values: []string{pick(d, "node-001", "node-002", "nowhere")},
		}}
		if d.chance(60) {
			return term
		}
	}
	for range d.between(1, 2) {
		r := v1.NodeSelectorRequirement{Key: pick(d, "disk", "generation", v1.LabelTopologyZone, "absent")}
		switch r.Operator = pick(d, v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn, v1.NodeSelectorOpExists, v1.NodeSelectorOpDoesNotExist, v1.NodeSelectorOpGt, v1.NodeSelectorOpLt); r.Operator {
		case v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn:
			r.Values = append(some(d, 40, "ssd", "1", "zone-1", "zone-2"), "hdd")
		case v1.NodeSelectorOpGt, v1.NodeSelectorOpLt:
			r.Key, r.Values = "generation", []string{pick(d, "1", "2", "5")}
		}
		term.MatchExpressions = append(term.MatchExpressions, r)
	}
	return term
}

func (d dice) tolerate(spec *v1.PodSpec) {
	for range d.between(1, 3) {
		t := v1.Toleration{
			Key: pick(d, taintKeys...), Operator: pick(d, v1.TolerationOpExists, v1.TolerationOpEqual, ""),
			Effect: pick(d, "", v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectNoExecute),
		}
		if t.Operator != v1.TolerationOpExists {
			t.Value = pick(d, "", "yes", "3")
		} else if d.chance(15) {
			t.Key = ""
		}
		spec.Tolerations = append(spec.Tolerations, t)
	}
	if d.chance(20) {
		spec.Tolerations = append(spec.Tolerations, v1.Toleration{Key: v1.TaintNodeUnschedulable, Operator: v1.TolerationOpExists, Effect: pick(d, "", v1.TaintEffectNoSchedule)})
	}
}
