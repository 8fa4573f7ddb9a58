package nodeinfo_test

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// TestClass tells which edits of a pod take it out of its class.
func TestClass(t *testing.T) {
	class := func(edits ...func(*v1.Pod)) nodeinfo.Class {
		info, err := nodeinfo.NewPodInfo(Pod("pod", append([]func(*v1.Pod){Labels("app", "web"), CPU("1")}, edits...)...))
		if err != nil {
			t.Fatal(err)
		}
		return info.Class()
	}
	for name, edit := range map[string]func(*v1.Pod){
		"name":       func(p *v1.Pod) { p.Name, p.UID = "other", "other" },
		"command":    func(p *v1.Pod) { p.Spec.Containers[0].Command = []string{"sleep"} },
		"priority":   Priority(5),
		"annotation": func(p *v1.Pod) { p.Annotations = map[string]string{"a": "b"} },
		"token":      func(p *v1.Pod) { p.Spec.Volumes = []v1.Volume{{Name: "token-x"}} },
		"port":       func(p *v1.Pod) { p.Spec.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: 80}} },
	} {
		if class(edit) != class() {
			t.Errorf("another %s must not make another class", name)
		}
	}
	seen := map[nodeinfo.Class]string{class(): "nothing"}
	for name, edit := range map[string]func(*v1.Pod){
		"namespace":     func(p *v1.Pod) { p.Namespace = "other" },
		"labels":        Labels("app", "db"),
		"request":       CPU("2"),
		"image":         func(p *v1.Pod) { p.Spec.Containers[0].Image = "other" },
		"host port":     func(p *v1.Pod) { p.Spec.Containers[0].Ports = []v1.ContainerPort{{HostPort: 80}} },
		"toleration":    Tolerates(v1.Toleration{Operator: v1.TolerationOpExists}),
		"node selector": func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} },
		"spread":        Spread(v1.TopologySpreadConstraint{MaxSkew: 1}),
		"affinity":      Affinity(v1.Affinity{NodeAffinity: &v1.NodeAffinity{}}),
		"overhead":      func(p *v1.Pod) { p.Spec.Overhead = Resources(map[v1.ResourceName]string{v1.ResourceCPU: "1"}) },
		"pod resources": func(p *v1.Pod) { p.Spec.Resources = &v1.ResourceRequirements{} },
		"init":          func(p *v1.Pod) { p.Spec.InitContainers = []v1.Container{{Image: "image"}} },
		"claim": func(p *v1.Pod) {
			p.Spec.Volumes = []v1.Volume{{VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
		},
		"owner": func(p *v1.Pod) {
			controls := true
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "r", Controller: &controls}}
		},
	} {
		c := class(edit)
		if other, taken := seen[c]; taken {
			t.Errorf("another %s makes the same class as another %s", name, other)
		}
		seen[c] = name
	}
}
