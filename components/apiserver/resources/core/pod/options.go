package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// Options loosen validation where an object that was accepted earlier must stay
// updatable. The zero value is right for new objects; OptionsFor makes that of an update.
type Options struct {
	// Old is the spec that is stored, nil for a new object.
	Old *corev1.PodSpec
	// OldAnnotations are those that stood beside Old.
	OldAnnotations map[string]string
	// Meta is the pod's own metadata where the spec is a pod's; nil in a template.
	Meta *metav1.ObjectMeta
}

// OptionsFor makes the options for an update of a template; old may be nil.
func OptionsFor(old *corev1.PodTemplateSpec) Options {
	if old == nil {
		return Options{}
	}
	return Options{Old: &old.Spec, OldAnnotations: old.Annotations}
}

// checker validates one pod spec: what was found so far, and what the rules have to
// know of the rest of the spec. Its methods are spread over this package by concept.
type checker struct {
	problem.List
	spec *corev1.PodSpec
	meta *metav1.ObjectMeta
	// volumes are the valid volumes by name, claims the names of the resource claims.
	volumes map[string]*corev1.VolumeSource
	claims  []string

	tolerance
}

// tolerance lists rules that the stored object breaks already, each of which is then
// not held against an update. A rule that came after the field it is about needs one.
type tolerance struct {
	labelValueInPodAffinity, labelValueInNodeAffinity, labelValueInSpread bool
	legacySpreadKeys, partialHugePages, anyTokenPath, noImageReference    bool
	namespacedSysctls, devicesInUserNamespace, hostNetworkInUserNamespace bool
	restartOnResizeInInit, sysAdminWithoutEscalation, deletionCost        bool
}

func (o Options) tolerance() tolerance {
	old := o.Old
	if old == nil {
		return tolerance{}
	}
	t := tolerance{deletionCost: !validDeletionCost(o.OldAnnotations)}
	breaks := func(check func(*checker, *field.Path)) bool {
		strict := &checker{spec: old}
		check(strict, field.NewPath("spec"))
		return len(strict.Errors) > 0
	}
	if a := old.Affinity; a != nil {
		t.labelValueInPodAffinity = breaks(func(c *checker, at *field.Path) { c.podAffinity(at, a) })
		t.labelValueInNodeAffinity = a.NodeAffinity != nil && breaks(func(c *checker, at *field.Path) { c.nodeAffinity(at, a.NodeAffinity) })
	}
	for _, s := range old.TopologySpreadConstraints {
		t.labelValueInSpread = t.labelValueInSpread || breaks(func(c *checker, at *field.Path) { c.selector(at, s.LabelSelector, false) })
		t.legacySpreadKeys = t.legacySpreadKeys || breaks(func(c *checker, at *field.Path) {
			c.labelKeys(at, s.MatchLabelKeys, nil, s.LabelSelector)
		})
	}
	_, volumeErrs := volume.Validate(old.Volumes, field.NewPath("volumes"), volume.Options{})
	t.anyTokenPath = slices.ContainsFunc(volumeErrs, func(e *field.Error) bool { return e.Type == field.ErrorTypeInvalid })
	for _, v := range old.Volumes {
		t.noImageReference = t.noImageReference || v.Image != nil && v.Image.Reference == ""
	}
	if sc := old.SecurityContext; sc != nil {
		t.namespacedSysctls = slices.ContainsFunc(sc.Sysctls, func(s corev1.Sysctl) bool { return sysctlOfHost(s.Name, old) != "" })
	}
	inUserNamespace := old.HostUsers != nil && !*old.HostUsers
	t.hostNetworkInUserNamespace = inUserNamespace && old.HostNetwork
	partial := func(list corev1.ResourceList) {
		for name, amount := range list {
			t.partialHugePages = t.partialHugePages || quantity.IsHugePages(name) && !quantity.FillsHugePages(name, amount)
		}
	}
	partial(old.Overhead)
	for m := range members(old, nil) {
		t.devicesInUserNamespace = t.devicesInUserNamespace || inUserNamespace && len(m.VolumeDevices) > 0
		t.sysAdminWithoutEscalation = t.sysAdminWithoutEscalation || contradictsEscalation(m.SecurityContext)
		if m.role == initRole && !m.restartable() {
			t.restartOnResizeInInit = t.restartOnResizeInInit || slices.ContainsFunc(m.ResizePolicy, restartsOnResize)
		}
		partial(m.Resources.Limits)
		partial(m.Resources.Requests)
	}
	return t
}
