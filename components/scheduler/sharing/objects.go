package sharing

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The numbers of fields, from generated.proto of the API. All objects have the same three.
const (
	objectMetadata protowire.Number = 1
	objectSpec     protowire.Number = 2
	objectStatus   protowire.Number = 3

	metaName              protowire.Number = 1
	metaUID               protowire.Number = 5
	metaResourceVersion   protowire.Number = 6
	metaGeneration        protowire.Number = 7
	metaCreation          protowire.Number = 8
	metaDeletion          protowire.Number = 9
	metaGracePeriod       protowire.Number = 10
	metaLabels            protowire.Number = 11
	metaAnnotations       protowire.Number = 12
	metaManagedFields     protowire.Number = 17
	podVolumes            protowire.Number = 1
	podContainers         protowire.Number = 2
	podNodeName           protowire.Number = 10
	podInitContainers     protowire.Number = 20
	containerVolumeMounts protowire.Number = 9
	volumeName            protowire.Number = 1

	nodePodCIDR         protowire.Number = 1
	nodeProviderID      protowire.Number = 3
	nodePodCIDRs        protowire.Number = 7
	nodeConditions      protowire.Number = 4
	nodeAddresses       protowire.Number = 5
	nodeVolumesInUse    protowire.Number = 9
	nodeVolumesAttached protowire.Number = 10
)

// ownMetadata is what no two objects have in common.
var ownMetadata = of(metaName, metaUID, metaResourceVersion, metaGeneration, metaCreation, metaDeletion, metaGracePeriod)

var errNotAnObject = errors.New("an object has metadata, spec and status, each once")

// object decodes objects of one kind.
type object interface {
	decode(data []byte) (runtime.Object, error)
}

// pods share their metadata's labels, annotations and owners, their spec but for the node, and their status.
type pods struct {
	metadata *part[metav1.ObjectMeta, *metav1.ObjectMeta]
	spec     *part[v1.PodSpec, *v1.PodSpec]
	status   *part[v1.PodStatus, *v1.PodStatus]
	// bulk is for specs each of which has names of its own for its volumes, as the API server's admission gives out
	// for tokens.
	bulk       *part[v1.PodSpec, *v1.PodSpec]
	containers *part[v1.Container, *v1.Container]
	volumes    *part[v1.Volume, *v1.Volume]
}

func newPods() *pods {
	p := &pods{
		metadata:   newPart[metav1.ObjectMeta](ownMetadata),
		spec:       newPart[v1.PodSpec](of(podNodeName)),
		status:     newPart[v1.PodStatus](0),
		bulk:       newPart[v1.PodSpec](of(podVolumes, podContainers, podInitContainers)),
		containers: newPart[v1.Container](of(containerVolumeMounts)),
		volumes:    newPart[v1.Volume](of(volumeName)),
	}
	p.metadata.dropped = of(metaManagedFields)
	p.spec.apart = p.bulk.decode
	p.bulk.ownBy = p.decodeLists
	return p
}

func (p *pods) decode(data []byte) (runtime.Object, error) {
	pod := &v1.Pod{}
	err := decodeObject(data,
		func(data []byte) error { return p.metadata.decode(data, &pod.ObjectMeta) },
		func(data []byte) error { return p.spec.decode(data, &pod.Spec) },
		func(data []byte) error { return p.status.decode(data, &pod.Status) })
	return pod, err
}

// decodeLists decodes volumes and containers one by one.
func (p *pods) decodeLists(lists []byte, into *v1.PodSpec) error {
	var count [podInitContainers + 1]int
	if err := each(lists, func(number protowire.Number, _ []byte) error {
		count[number]++
		return nil
	}); err != nil {
		return err
	}
	into.Volumes = room[v1.Volume](count[podVolumes])
	into.Containers = room[v1.Container](count[podContainers])
	into.InitContainers = room[v1.Container](count[podInitContainers])
	return each(lists, func(number protowire.Number, value []byte) error {
		switch number {
		case podVolumes:
			into.Volumes = append(into.Volumes, v1.Volume{})
			return p.volumes.decode(value, &into.Volumes[len(into.Volumes)-1])
		case podContainers:
			into.Containers = append(into.Containers, v1.Container{})
			return p.containers.decode(value, &into.Containers[len(into.Containers)-1])
		default:
			into.InitContainers = append(into.InitContainers, v1.Container{})
			return p.containers.decode(value, &into.InitContainers[len(into.InitContainers)-1])
		}
	})
}

// room is an empty list of that capacity; nil for none.
func room[T any](capacity int) []T {
	if capacity == 0 {
		return nil
	}
	return make([]T, 0, capacity)
}

// nodes share what they offer, what runs on them and their images.
type nodes struct {
	metadata *part[metav1.ObjectMeta, *metav1.ObjectMeta]
	spec     *part[v1.NodeSpec, *v1.NodeSpec]
	status   *part[v1.NodeStatus, *v1.NodeStatus]
	// bulk is for nodes that say when they were last heard of.
	bulk *part[v1.NodeStatus, *v1.NodeStatus]
}

func newNodes() *nodes {
	n := &nodes{
		// A label is the node's name.
		metadata: newPart[metav1.ObjectMeta](ownMetadata | of(metaLabels, metaAnnotations)),
		spec:     newPart[v1.NodeSpec](of(nodePodCIDR, nodePodCIDRs, nodeProviderID)),
		status:   newPart[v1.NodeStatus](0),
		bulk:     newPart[v1.NodeStatus](of(nodeConditions, nodeAddresses, nodeVolumesInUse, nodeVolumesAttached)),
	}
	n.metadata.dropped = of(metaManagedFields)
	n.status.apart = n.bulk.decode
	return n
}

func (n *nodes) decode(data []byte) (runtime.Object, error) {
	node := &v1.Node{}
	err := decodeObject(data,
		func(data []byte) error { return n.metadata.decode(data, &node.ObjectMeta) },
		func(data []byte) error { return n.spec.decode(data, &node.Spec) },
		func(data []byte) error { return n.status.decode(data, &node.Status) })
	return node, err
}

// decodeObject finds the three parts of an object.
func decodeObject(data []byte, metadata, spec, status func(data []byte) error) error {
	var seen fields
	return each(data, func(number protowire.Number, value []byte) error {
		if seen.has(number) {
			return errNotAnObject
		}
		seen |= of(number)
		switch number {
		case objectMetadata:
			return metadata(value)
		case objectSpec:
			return spec(value)
		case objectStatus:
			return status(value)
		}
		return errNotAnObject
	})
}
