package podtopologyspread

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/plugins/tainttoleration"
)

// constraint is a parsed topology spread constraint.
type constraint struct {
	key        string
	maxSkew    int
	minDomains int
	selector   labels.Selector
	id         string // of the selector, for remembering counts
	affinity   v1.NodeInclusionPolicy
	taints     v1.NodeInclusionPolicy
}

// constraintsOf returns the pod's constraints of the kind, or the defaults for a pod that has none at all.
func (p *PodTopologySpread) constraintsOf(pod *v1.Pod, action v1.UnsatisfiableConstraintAction) ([]constraint, error) {
	if len(pod.Spec.TopologySpreadConstraints) > 0 {
		return parse(pod.Spec.TopologySpreadConstraints, pod.Labels, action)
	}
	list, err := parse(p.defaults, pod.Labels, action)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	selector := p.owners.selectorOf(pod)
	if selector.Empty() {
		return nil, nil
	}
	for i := range list {
		list[i].selector, list[i].id = selector, selector.String()
	}
	return list, nil
}

func parse(specs []v1.TopologySpreadConstraint, podLabels map[string]string, action v1.UnsatisfiableConstraintAction) ([]constraint, error) {
	var list []constraint
	for i := range specs {
		spec := &specs[i]
		if spec.WhenUnsatisfiable != action {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(spec.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("obtaining pod's topology spread constraints: %w", err)
		}
		selector = narrow(selector, spec.MatchLabelKeys, podLabels)
		c := constraint{
			key: spec.TopologyKey, maxSkew: int(spec.MaxSkew), minDomains: 1, selector: selector, id: selector.String(),
			affinity: v1.NodeInclusionPolicyHonor, taints: v1.NodeInclusionPolicyIgnore,
		}
		if spec.MinDomains != nil {
			c.minDomains = int(*spec.MinDomains)
		}
		if spec.NodeAffinityPolicy != nil {
			c.affinity = *spec.NodeAffinityPolicy
		}
		if spec.NodeTaintsPolicy != nil {
			c.taints = *spec.NodeTaintsPolicy
		}
		list = append(list, c)
	}
	return list, nil
}

// narrow restricts a selector to pods with the same values of matchLabelKeys as this one.
func narrow(selector labels.Selector, keys []string, podLabels map[string]string) labels.Selector {
	same := labels.Set{}
	for _, key := range keys {
		if value, found := podLabels[key]; found {
			same[key] = value
		}
	}
	requirements, selectable := selector.Requirements()
	if len(same) == 0 || !selectable {
		return selector
	}
	return labels.SelectorFromSet(same).Add(requirements...)
}

// selectorOf tells a pod's kind by the Services that select it and the controller that owns it.
func (o *owners) selectorOf(pod *v1.Pod) labels.Selector {
	set := labels.Set{}
	if services, err := o.services.Services(pod.Namespace).List(labels.Everything()); err == nil {
		for _, service := range services {
			if service.Spec.Selector != nil && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
				set = labels.Merge(set, service.Spec.Selector)
			}
		}
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return set.AsSelector()
	}
	var own *metav1.LabelSelector
	switch schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind) {
	case v1.SchemeGroupVersion.WithKind("ReplicationController"):
		if rc, err := o.controllers.ReplicationControllers(pod.Namespace).Get(owner.Name); err == nil {
			set = labels.Merge(set, rc.Spec.Selector)
		}
	case appsv1.SchemeGroupVersion.WithKind("ReplicaSet"):
		if rs, err := o.replicaSets.ReplicaSets(pod.Namespace).Get(owner.Name); err == nil {
			own = rs.Spec.Selector
		}
	case appsv1.SchemeGroupVersion.WithKind("StatefulSet"):
		if ss, err := o.statefulSets.StatefulSets(pod.Namespace).Get(owner.Name); err == nil {
			own = ss.Spec.Selector
		}
	}
	selector := set.AsSelector()
	if own != nil {
		if parsed, err := metav1.LabelSelectorAsSelector(own); err == nil {
			requirements, _ := parsed.Requirements()
			selector = selector.Add(requirements...)
		}
	}
	return selector
}

// includes says whether the node counts for the constraint at all.
func (c *constraint) includes(logger klog.Logger, pod *v1.Pod, affinity nodeaffinity.RequiredNodeAffinity, node *v1.Node) bool {
	if c.affinity == v1.NodeInclusionPolicyHonor {
		if match, _ := affinity.Match(node); !match {
			return false
		}
	}
	return c.taints != v1.NodeInclusionPolicyHonor || tainttoleration.Fits(logger, pod, node)
}

// hasAll says whether the node has the topology label of every constraint.
func hasAll(list []constraint, nodeLabels map[string]string) bool {
	for i := range list {
		if _, found := nodeLabels[list[i].key]; !found {
			return false
		}
	}
	return true
}

// count counts the pods of the kind on a node; pods that are being deleted are on their way out.
func count(pods []fwk.PodInfo, selector labels.Selector, namespace string) int {
	if selector.Empty() {
		return 0
	}
	n := 0
	for _, info := range pods {
		pod := info.GetPod()
		if pod.DeletionTimestamp == nil && pod.Namespace == namespace && selector.Matches(labels.Set(pod.Labels)) {
			n++
		}
	}
	return n
}
