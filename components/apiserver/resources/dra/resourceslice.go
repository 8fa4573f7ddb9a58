package dra

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ResourceSlices are parts of the list of a driver's devices.
func ResourceSlices() *resource.Definition[*resourcev1.ResourceSlice] {
	spec := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return &resource.Definition[*resourcev1.ResourceSlice]{
		Identity: resource.Identity{
			GroupVersion: resourcev1.SchemeGroupVersion,
			Kind:         "ResourceSlice", Name: "resourceslices", Singular: "resourceslice",
			ClusterScoped: true,
		},
		New:                 func() *resourcev1.ResourceSlice { return &resourcev1.ResourceSlice{} },
		NewList:             func() runtime.Object { return &resourcev1.ResourceSliceList{} },
		ReturnDeletedObject: true,
		Default: func(s *resourcev1.ResourceSlice) {
			for i := range s.Spec.Devices {
				for j := range s.Spec.Devices[i].Taints {
					defaultTaint(&s.Spec.Devices[i].Taints[j])
				}
			}
		},
		PrepareForCreate: func(_ context.Context, s *resourcev1.ResourceSlice) { dropOffDeviceFields(&s.Spec) },
		PrepareForUpdate: func(_ context.Context, s, _ *resourcev1.ResourceSlice) { dropOffDeviceFields(&s.Spec) },
		Validate: func(_ context.Context, s *resourcev1.ResourceSlice) field.ErrorList {
			return validateSlice(&s.Spec, nil)
		},
		ValidateUpdate: func(_ context.Context, s, old *resourcev1.ResourceSlice) field.ErrorList {
			return validateSlice(&s.Spec, &old.Spec)
		},
		Warnings: func(_ context.Context, s, _ *resourcev1.ResourceSlice) []string {
			if s.Spec.Driver == strings.ToLower(s.Spec.Driver) {
				return nil
			}
			return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", s.Spec.Driver)}
		},
		Spec:             func(s *resourcev1.ResourceSlice) any { return &s.Spec },
		TracksGeneration: true,
		Fields: func(s *resourcev1.ResourceSlice) fields.Set {
			return fields.Set{
				resourcev1.ResourceSliceSelectorNodeName: ptr.Deref(s.Spec.NodeName, ""),
				resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
				resourcev1.ResourceSliceSelectorPoolName: s.Spec.Pool.Name,
			}
		},
		IndexFields: []string{resourcev1.ResourceSliceSelectorNodeName},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Node", spec["nodeName"]),
			table.String("Driver", spec["driver"]),
			table.String("Pool", resourcev1.ResourcePool{}.SwaggerDoc()["name"]),
			table.Age(),
		},
		Cells: func(s *resourcev1.ResourceSlice) []any {
			return []any{s.Name, ptr.Deref(s.Spec.NodeName, ""), s.Spec.Driver, s.Spec.Pool.Name, table.Since(s.CreationTimestamp)}
		},
	}
}

// dropOffDeviceFields clears what belongs to features that are off.
func dropOffDeviceFields(spec *resourcev1.ResourceSliceSpec) {
	spec.PartitionTypeAttribute, spec.SkipNodeOperations = nil, nil
	for i := range spec.Devices {
		d := &spec.Devices[i]
		d.NodeAllocatableResources = nil
		for j := range d.ConsumesCounters {
			d.ConsumesCounters[j].CompatibilityGroups = nil
		}
		for name, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
				d.Attributes[name] = a
			}
		}
	}
}

// place says which nodes can use something; the names of what is set are collected.
type place struct {
	node     *string
	selector *corev1.NodeSelector
	all      *bool
	// emptyNode is what is said of a node's name that is "".
	emptyNode string
}

func (p place) validate(at *field.Path) (set []string, errs field.ErrorList) {
	var found problem.List
	if p.node != nil && *p.node == "" {
		found.Invalid(at.Child("nodeName"), *p.node, p.emptyNode)
	} else if p.node != nil {
		set = append(set, "`nodeName`")
		found.Messages(at.Child("nodeName"), *p.node, validation.IsDNS1123Subdomain(*p.node))
	}
	if p.selector != nil {
		set = append(set, "`nodeSelector`")
		found.Add(pod.ValidateNodeSelector(p.selector, at.Child("nodeSelector"), false)...)
	}
	set = append(set, trueOrUnset(&found, at, "allNodes", p.all)...)
	return set, found.Errors
}

func trueOrUnset(found *problem.List, at *field.Path, name string, value *bool) []string {
	if value == nil {
		return nil
	}
	if !*value {
		found.Invalid(at.Child(name), false, "must be either unset or set to true")
		return nil
	}
	return []string{"`" + name + "`"}
}

func validateSlice(spec, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	found.Add(volume.ValidateDriverName(spec.Driver, at.Child("driver"))...)
	found.Add(validatePoolName(spec.Pool.Name, at.Child("pool", "name"))...)
	found.Positive(at.Child("pool", "resourceSliceCount"), spec.Pool.ResourceSliceCount)
	if spec.Pool.Generation < 0 {
		found.Invalid(at.Child("pool", "generation"), spec.Pool.Generation, "must be greater than or equal to zero")
	}
	if old != nil {
		found.Add(apivalidation.ValidateImmutableField(spec.Pool.Name, old.Pool.Name, at.Child("pool", "name"))...)
		found.Add(apivalidation.ValidateImmutableField(spec.Driver, old.Driver, at.Child("driver"))...)
		found.Add(apivalidation.ValidateImmutableField(spec.NodeName, old.NodeName, at.Child("nodeName"))...)
	}
	found.Add(validateSlicePlace(spec, at)...)
	if spec.SharedCounters != nil && spec.Devices != nil {
		found.Invalid(at, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	most := resourcev1.ResourceSliceMaxDevices
	before := map[string]*resourcev1.Device{}
	for i := range spec.Devices {
		if d := &spec.Devices[i]; len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 {
			most = resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	if old != nil {
		for i := range old.Devices {
			before[old.Devices[i].Name] = &old.Devices[i]
		}
	}
	perDevice := ptr.Deref(spec.PerDeviceNodeSelection, false)
	found.Add(validateList(spec.Devices, most, at.Child("devices"), func(d resourcev1.Device) string { return d.Name },
		func(d resourcev1.Device, at *field.Path) field.ErrorList {
			return validateDevice(&d, before[d.Name], perDevice, at)
		})...)
	found.Add(validateList(spec.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, at.Child("sharedCounters"),
		func(s resourcev1.CounterSet) string { return s.Name },
		func(s resourcev1.CounterSet, at *field.Path) field.ErrorList {
			return validateCounters(s.Name, at.Child("name"), s.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, at.Child("counters"))
		})...)
	return found.Errors
}

func validateSlicePlace(spec *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	set, errs := place{spec.NodeName, spec.NodeSelector, spec.AllNodes, "must be either unset or set to a non-empty string"}.validate(at)
	found := problem.List{Errors: errs}
	// Selectors of several slices can only be merged if they are simple.
	if s := spec.NodeSelector; s != nil && len(s.NodeSelectorTerms) != 1 {
		found.Invalid(at.Child("nodeSelector", "nodeSelectorTerms"), s.NodeSelectorTerms, "must have exactly one node selector term")
	}
	set = append(set, trueOrUnset(&found, at, "perDeviceNodeSelection", spec.PerDeviceNodeSelection)...)
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch len(set) {
	case 0:
		found.Required(at, one)
	case 1:
	default:
		found.Invalid(at, "{"+strings.Join(set, ", ")+"}", one+", but multiple fields are set")
	}
	return found.Errors
}

func validateCounters(name string, nameAt *field.Path, counters map[string]resourcev1.Counter, most int, at *field.Path) field.ErrorList {
	var found problem.List
	if name == "" {
		found.Required(nameAt, "")
	} else {
		label(&found, nameAt, name)
	}
	switch n := len(counters); {
	case n == 0:
		found.Required(at, "")
	case n > most:
		found.Add(field.TooMany(at, n, most))
	default:
		for counter := range counters {
			label(&found, at, counter)
		}
	}
	return found.Errors
}
