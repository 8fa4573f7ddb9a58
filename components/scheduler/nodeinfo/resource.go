package nodeinfo

import (
	"maps"
	"strings"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Assumed requests of a container that states none, so that many such pods do not pile up on one node.
const (
	DefaultMilliCPURequest int64 = 100
	DefaultMemoryRequest   int64 = 200 * 1024 * 1024
)

// Resource is a set of resource amounts in the units the scheduler computes with: CPU in thousandths, all else whole.
type Resource struct {
	MilliCPU         int64
	Memory           int64
	EphemeralStorage int64
	AllowedPodNumber int
	Scalar           map[v1.ResourceName]int64
}

var _ fwk.Resource = &Resource{}

// NewResource converts a resource list.
func NewResource(list v1.ResourceList) *Resource {
	r := &Resource{}
	for name, quantity := range list {
		switch name {
		case v1.ResourceCPU:
			r.MilliCPU = quantity.MilliValue()
		case v1.ResourceMemory:
			r.Memory = quantity.Value()
		case v1.ResourceEphemeralStorage:
			r.EphemeralStorage = quantity.Value()
		case v1.ResourcePods:
			r.AllowedPodNumber = int(quantity.Value())
		default:
			if IsScalar(name) {
				if r.Scalar == nil {
					r.Scalar = make(map[v1.ResourceName]int64, 1)
				}
				r.Scalar[name] = quantity.Value()
			}
		}
	}
	return r
}

// GetMilliCPU returns the CPU in thousandths of a core.
func (r *Resource) GetMilliCPU() int64 { return r.MilliCPU }

// GetMemory returns the memory in bytes.
func (r *Resource) GetMemory() int64 { return r.Memory }

// GetEphemeralStorage returns the local ephemeral storage in bytes.
func (r *Resource) GetEphemeralStorage() int64 { return r.EphemeralStorage }

// GetAllowedPodNumber returns how many pods fit.
func (r *Resource) GetAllowedPodNumber() int { return r.AllowedPodNumber }

// GetScalarResources returns the amounts of extended, hugepage and other scalar resources. The caller must not change it.
func (r *Resource) GetScalarResources() map[v1.ResourceName]int64 { return r.Scalar }

// SetMaxResource raises each amount to the one in list where that is larger.
func (r *Resource) SetMaxResource(list v1.ResourceList) {
	other := NewResource(list)
	r.MilliCPU = max(r.MilliCPU, other.MilliCPU)
	r.Memory = max(r.Memory, other.Memory)
	r.EphemeralStorage = max(r.EphemeralStorage, other.EphemeralStorage)
	for name, amount := range other.Scalar {
		if r.Scalar == nil {
			r.Scalar = make(map[v1.ResourceName]int64, len(other.Scalar))
		}
		r.Scalar[name] = max(r.Scalar[name], amount)
	}
}

// accumulate adds sign times other. The scalar map is replaced, not changed: clones of the node may share it.
func (r *Resource) accumulate(other fwk.Resource, sign int64) {
	r.MilliCPU += sign * other.GetMilliCPU()
	r.Memory += sign * other.GetMemory()
	r.EphemeralStorage += sign * other.GetEphemeralStorage()
	if scalars := other.GetScalarResources(); len(scalars) > 0 {
		next := maps.Clone(r.Scalar)
		if next == nil {
			next = make(map[v1.ResourceName]int64, len(scalars))
		}
		for name, amount := range scalars {
			next[name] += sign * amount
		}
		r.Scalar = next
	}
}

// IsExtended reports whether name is an extended resource: a domain-qualified name outside kubernetes.io.
// https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#extended-resources
func IsExtended(name v1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") && !isNative(s) && !strings.HasPrefix(s, v1.DefaultResourceRequestsPrefix)
}

// IsScalar reports whether name is a resource counted in whole units besides the built-in ones.
func IsScalar(name v1.ResourceName) bool {
	s := string(name)
	return IsExtended(name) || strings.HasPrefix(s, v1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(s, v1.ResourceAttachableVolumesPrefix) || (strings.Contains(s, "/") && isNative(s))
}

func isNative(name string) bool { return strings.Contains(name, v1.ResourceDefaultNamespacePrefix) }
