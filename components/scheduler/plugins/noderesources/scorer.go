package noderesources

import (
	"math"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	"github.com/plumbline/plumbline/components/scheduler/plugins/utilization"
)

// usage is one resource of a node: what it offers, what its pods take, and what they would take with the new pod.
type usage struct {
	weight                    int64
	allocatable, before, with int64
}

// scorer gathers the usage of the configured resources and rates it.
type scorer struct {
	resources []configv1.ResourceSpec
	rating    rating
	shape     []configv1.UtilizationShapePoint
	requests  helper.PodResourcesOptions
	// node reads what the node's pods take of CPU and memory: stated requests, or with defaults for unstated ones.
	node func(fwk.NodeInfo) fwk.Resource
}

// rating is a way to turn usage into a score. A function value would do as well, but then the usage of every node
// would be allocated anew.
type rating int

const (
	leastAllocated rating = iota
	mostAllocated
	requestedToCapacityRatio
	balancedAllocation
)

// ratingOf returns the rating of a validated strategy.
func ratingOf(strategy *configv1.ScoringStrategy) (rating, []configv1.UtilizationShapePoint) {
	switch strategy.Type {
	case configv1.MostAllocated:
		return mostAllocated, nil
	case configv1.RequestedToCapacityRatio:
		return requestedToCapacityRatio, strategy.RequestedToCapacityRatio.Shape
	}
	return leastAllocated, nil
}

// amounts are a pod's requests in the order of the scorer's resources.
type amounts []int64

// Clone returns the value itself: it does not change.
func (a amounts) Clone() fwk.StateData { return a }

func (a amounts) allZero() bool {
	for _, amount := range a {
		if amount != 0 {
			return false
		}
	}
	return true
}

func assumedRequests() v1.ResourceList {
	return v1.ResourceList{
		v1.ResourceCPU:    *resource.NewMilliQuantity(nodeinfo.DefaultMilliCPURequest, resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(nodeinfo.DefaultMemoryRequest, resource.DecimalSI),
	}
}

func (s *scorer) amountsOf(pod *v1.Pod) amounts {
	requests := helper.PodRequests(pod, s.requests)
	list := make(amounts, len(s.resources))
	for i := range s.resources {
		quantity := requests[v1.ResourceName(s.resources[i].Name)]
		if s.resources[i].Name == string(v1.ResourceCPU) {
			list[i] = quantity.MilliValue()
		} else {
			list[i] = quantity.Value()
		}
	}
	return list
}

// score leaves out resources the node does not have, and scalar resources the pod does not ask for.
func (s *scorer) score(pod amounts, node fwk.NodeInfo) int64 {
	var array [8]usage
	list := array[:0]
	offer, taken := node.GetAllocatable(), s.node(node)
	for i := range s.resources {
		u := usage{weight: s.resources[i].Weight}
		switch name := v1.ResourceName(s.resources[i].Name); name {
		case v1.ResourceCPU:
			u.allocatable, u.before = offer.GetMilliCPU(), taken.GetMilliCPU()
		case v1.ResourceMemory:
			u.allocatable, u.before = offer.GetMemory(), taken.GetMemory()
		case v1.ResourceEphemeralStorage:
			u.allocatable, u.before = offer.GetEphemeralStorage(), node.GetRequested().GetEphemeralStorage()
		default:
			if pod[i] == 0 {
				continue
			}
			u.allocatable, u.before = offer.GetScalarResources()[name], node.GetRequested().GetScalarResources()[name]
		}
		if u.allocatable == 0 {
			continue
		}
		u.with = u.before + pod[i]
		list = append(list, u)
	}
	switch s.rating {
	case mostAllocated:
		return weightedMean(list, fullness)
	case requestedToCapacityRatio:
		return alongShape(list, s.shape)
	case balancedAllocation:
		return balance(list)
	}
	return weightedMean(list, emptiness)
}

func fullness(u usage) int64 { return min(u.with, u.allocatable) * fwk.MaxScore / u.allocatable }

func emptiness(u usage) int64 {
	return max(0, u.allocatable-u.with) * fwk.MaxScore / u.allocatable
}

func weightedMean(list []usage, rate func(usage) int64) int64 {
	var sum, weights int64
	for _, u := range list {
		sum += rate(u) * u.weight
		weights += u.weight
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}

// alongShape rates by a line through the points of the shape. A resource that rates 0 does not weigh in.
func alongShape(list []usage, shape []configv1.UtilizationShapePoint) int64 {
	var sum, weights int64
	for _, u := range list {
		percent := int64(100)
		if u.with <= u.allocatable {
			percent = u.with * 100 / u.allocatable
		}
		if score := utilization.Height(shape, percent); score > 0 {
			sum += score * u.weight
			weights += u.weight
		}
	}
	if weights == 0 {
		return 0
	}
	return int64(math.Round(float64(sum) / float64(weights)))
}
