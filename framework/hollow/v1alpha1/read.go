package v1alpha1

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Read reads a description, fills in defaults and validates it. Unknown and duplicate
// fields are errors.
func Read(data []byte) (*Spec, error) {
	spec, err := ReadPlain(data)
	if err != nil {
		return nil, err
	}
	spec.Default()
	return spec, spec.Validate(field.NewPath("spec")).ToAggregate()
}

// ReadPlain reads a description as it stands, for whoever changes it before it is
// completed and validated.
func ReadPlain(data []byte) (*Spec, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("hollow nodes: %w", err)
	}
	h := &HollowNodes{}
	strict, err := kjson.UnmarshalStrict(asJSON, h)
	if err == nil {
		err = errors.Join(strict...)
	}
	if err != nil {
		return nil, fmt.Errorf("hollow nodes: %w", err)
	}
	var errs field.ErrorList
	if h.APIVersion != APIVersion {
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), h.APIVersion, []string{APIVersion}))
	}
	if h.Kind != Kind {
		errs = append(errs, field.NotSupported(field.NewPath("kind"), h.Kind, []string{Kind}))
	}
	return &h.Spec, errs.ToAggregate()
}

// Most of what all nodes together do in a second, where nothing else is said.
const (
	renewalsPerSecond = 50
	reportsPerSecond  = 10
)

// Default fills in what is left out.
func (s *Spec) Default() {
	if s.CIDR == "" {
		s.CIDR = "100.64.0.0/10"
	}
	for i := range s.Nodes {
		s.Nodes[i].setDefaults()
	}
	perSecond := func(n int) time.Duration {
		return (time.Second * time.Duration(s.Total()) / time.Duration(n)).Round(time.Second)
	}
	h := &s.Heartbeat
	if h.RenewInterval == nil {
		h.RenewInterval = &metav1.Duration{Duration: max(10*time.Second, perSecond(renewalsPerSecond))}
	}
	if h.LeaseDuration == nil {
		h.LeaseDuration = &metav1.Duration{Duration: max(time.Second, 4*h.RenewInterval.Duration)}
	}
	if h.ReportInterval == nil {
		h.ReportInterval = &metav1.Duration{Duration: max(5*time.Minute, perSecond(reportsPerSecond))}
	}
}

func (g *Group) setDefaults() {
	if g.Name == "" {
		g.Name = "hollow"
	}
	if g.Capacity == nil {
		g.Capacity = corev1.ResourceList{}
	}
	for name, amount := range UsualCapacity() {
		if _, said := g.Capacity[name]; !said {
			g.Capacity[name] = amount
		}
	}
}

// UsualCapacity is what a node has of which nothing else is said.
func UsualCapacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("4"),
		corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
}
