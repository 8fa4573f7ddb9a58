// Package node keeps this machine's Node object: it registers the node, says what it
// has and how it is, and renews its lease.
// See https://kubernetes.io/docs/concepts/architecture/nodes/.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/inplacepodresize"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

// annotationProvided lists the addresses that were given on the command line.
const annotationProvided = "alpha.kubernetes.io/provided-node-ip"

// Config is what a Keeper needs.
type Config struct {
	Name   string
	Client kubernetes.Interface
	IPs    []net.IP
	Labels map[string]string
	Taints []v1.Taint
	// ProviderID is the machine's id with its cloud provider.
	ProviderID string
	// Register says whether to create the Node object, or wait for somebody to do it.
	Register              bool
	Port                  int32
	Capacity, Allocatable v1.ResourceList
	// MaxImages limits the images in the status; -1 does not.
	MaxImages int
	// UpdateEvery is how often the status is computed, ReportEvery how often it is
	// sent although nothing changed.
	UpdateEvery, ReportEvery time.Duration
	LeaseSeconds             int32
	// Pressure says whether the node is under a pressure that a condition names.
	Pressure func(v1.NodeConditionType) bool
	// Event records an event on the node.
	Event func(eventType, reason, message string)
}

// Runtime is what the keeper asks of the container runtime.
type Runtime interface {
	Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error)
	Version(ctx context.Context, apiVersion string) (*runtimeapi.VersionResponse, error)
}

// Images lists the images on the node.
type Images interface {
	ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error)
}

// Keeper keeps the Node object.
type Keeper struct {
	c       Config
	changed chan struct{}
	// registered is closed once the API server has the node.
	registered chan struct{}

	mu       sync.Mutex
	node     *v1.Node
	sent     time.Time
	runtime  Runtime
	images   Images
	version  *runtimeapi.VersionResponse
	handlers []v1.NodeRuntimeHandler
	features *v1.NodeFeatures
	// runtimeErr and networkErr say what is not ready.
	runtimeErr, networkErr error
	cached                 []v1.ContainerImage
}

// New returns a keeper of a node that is not registered yet.
func New(c Config) *Keeper {
	return &Keeper{
		c: c, changed: make(chan struct{}, 1), registered: make(chan struct{}),
		runtimeErr: errors.New("container runtime is down"),
		networkErr: errors.New("container runtime network not ready"),
	}
}

// Node is this node as last seen; nil before it was registered.
func (k *Keeper) Node() *v1.Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.node
}

// Observe takes in the node as the API server shows it.
func (k *Keeper) Observe(node *v1.Node) {
	k.mu.Lock()
	k.adopt(node)
	k.mu.Unlock()
	if !equality.Semantic.DeepEqual(Extended(node.Status.Capacity), Extended(node.Status.Allocatable)) {
		k.Touch()
	}
}

// Registered is closed once the API server has the node: from then on it answers.
func (k *Keeper) Registered() <-chan struct{} { return k.registered }

// NetworkReady says why pods cannot have a network yet; nil means they can.
func (k *Keeper) NetworkReady() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(k.runtimeErr, k.networkErr)
}

// Touch has the status sent soon: something that it says has changed.
func (k *Keeper) Touch() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Run keeps the node until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	if !k.register(ctx) {
		return
	}
	close(k.registered)
	go k.renewLease(ctx)
	ticker := time.NewTicker(k.c.UpdateEvery)
	defer ticker.Stop()
	for {
		k.send(ctx)
		select {
		case <-k.changed:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// register creates the Node object, or takes over the one that is there.
func (k *Keeper) register(ctx context.Context) bool {
	delay := 5 * time.Millisecond
	for ctx.Err() == nil {
		node, err := k.createOrGet(ctx)
		if err == nil {
			k.mu.Lock()
			k.node = node
			k.mu.Unlock()
			klog.FromContext(ctx).Info("Registered the node", "node", k.c.Name)
			return true
		}
		klog.FromContext(ctx).V(2).Info("The node cannot be registered yet", "err", err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		// The API server starts beside the kubelet; do not let it wait.
		delay = min(delay*3/2, 100*time.Millisecond)
	}
	return false
}

func (k *Keeper) createOrGet(ctx context.Context) (*v1.Node, error) {
	nodes := k.c.Client.CoreV1().Nodes()
	wanted := k.initial()
	if k.c.Register {
		node, err := nodes.Create(ctx, wanted, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return node, err
		}
	}
	node, err := nodes.Get(ctx, k.c.Name, metav1.GetOptions{})
	if err != nil || !k.c.Register {
		return node, err
	}
	next := node.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, wanted.Labels)
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	maps.Copy(next.Annotations, wanted.Annotations)
	if equality.Semantic.DeepEqual(node, next) {
		return node, nil
	}
	return nodes.Update(ctx, next, metav1.UpdateOptions{})
}

// initial is the node as it is registered. Its labels are those of
// https://kubernetes.io/docs/reference/labels-annotations-taints/.
func (k *Keeper) initial() *v1.Node {
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: k.c.Name,
		Labels: map[string]string{
			v1.LabelHostname:          k.c.Name,
			v1.LabelOSStable:          goruntime.GOOS,
			v1.LabelArchStable:        goruntime.GOARCH,
			"beta.kubernetes.io/os":   goruntime.GOOS,
			"beta.kubernetes.io/arch": goruntime.GOARCH,
		},
		Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
	}}
	maps.Copy(node.Labels, k.c.Labels)
	if len(k.c.IPs) > 0 {
		node.Annotations[annotationProvided] = k.c.IPs[0].String()
	}
	node.Spec.Taints = slices.Clone(k.c.Taints)
	node.Spec.ProviderID = k.c.ProviderID
	k.fill(node)
	return node
}

// fill sets the status to what is true now.
func (k *Keeper) fill(node *v1.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := &node.Status
	// Resources that somebody else has given the node are not the kubelet's to remove, but
	// it says that pods may have them.
	others := Extended(s.Capacity)
	s.Capacity, s.Allocatable = maps.Clone(k.c.Capacity), maps.Clone(k.c.Allocatable)
	maps.Copy(s.Capacity, others)
	maps.Copy(s.Allocatable, others)
	s.NodeInfo = systemInfo(k.version)
	s.DaemonEndpoints.KubeletEndpoint.Port = k.c.Port
	s.RuntimeHandlers, s.Features = k.handlers, k.features
	// An API server lets pods of this node be resized in these ways only if it declares them.
	s.DeclaredFeatures = []string{inplacepodresize.IPPRPodLevelResourcesFeatureGate, inplacepodresize.IPPRInitContainersFeatureGate}
	s.Images = k.cached
	s.Addresses = nil
	for _, ip := range k.c.IPs {
		s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip.String()})
	}
	s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeHostName, Address: k.c.Name})

	now := metav1.Now()
	pressures := []struct {
		kind      v1.NodeConditionType
		has, name string
		none      string
	}{
		{v1.NodeMemoryPressure, "KubeletHasInsufficientMemory", "memory", "KubeletHasSufficientMemory"},
		{v1.NodeDiskPressure, "KubeletHasDiskPressure", "disk", "KubeletHasNoDiskPressure"},
		{v1.NodePIDPressure, "KubeletHasInsufficientPID", "PID", "KubeletHasSufficientPID"},
	}
	for _, p := range pressures {
		c := v1.NodeCondition{Type: p.kind, Status: v1.ConditionFalse, Reason: p.none, LastHeartbeatTime: now}
		switch {
		case k.c.Pressure(p.kind):
			c.Status, c.Reason, c.Message = v1.ConditionTrue, p.has, fmt.Sprintf("kubelet has insufficient %s available", p.name)
			if p.kind == v1.NodeDiskPressure {
				c.Message = "kubelet has disk pressure"
			}
		case p.kind == v1.NodeDiskPressure:
			c.Message = "kubelet has no disk pressure"
		default:
			c.Message = fmt.Sprintf("kubelet has sufficient %s available", p.name)
		}
		setCondition(s, c)
	}
	ready := v1.NodeCondition{
		Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status", LastHeartbeatTime: now,
	}
	if err := errors.Join(k.runtimeErr, k.networkErr); err != nil {
		ready.Status, ready.Reason, ready.Message = v1.ConditionFalse, "KubeletNotReady", "["+joined(k.runtimeErr, k.networkErr)+"]"
	}
	setCondition(s, ready)
}

// IsExtended says whether a resource has a domain of its own, outside of kubernetes.io
// (https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/).
func IsExtended(name v1.ResourceName) bool {
	text := string(name)
	return strings.Contains(text, "/") && !strings.Contains(text, v1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(text, v1.DefaultResourceRequestsPrefix)
}

// Extended are those of a list's resources that are extended ones.
func Extended(list v1.ResourceList) v1.ResourceList {
	found := v1.ResourceList{}
	for name, quantity := range list {
		if IsExtended(name) {
			found[name] = quantity
		}
	}
	return found
}

func joined(errs ...error) string {
	text := ""
	for _, err := range errs {
		if err == nil {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += err.Error()
	}
	return text
}

func setCondition(s *v1.NodeStatus, c v1.NodeCondition) {
	for i := range s.Conditions {
		have := &s.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		c.LastTransitionTime = have.LastTransitionTime
		if have.Status != c.Status {
			c.LastTransitionTime = c.LastHeartbeatTime
		}
		*have = c
		return
	}
	c.LastTransitionTime = c.LastHeartbeatTime
	s.Conditions = append(s.Conditions, c)
}

// send patches the status if it changed, or if it is time to be heard again.
func (k *Keeper) send(ctx context.Context) {
	k.mu.Lock()
	base, sent := k.node, k.sent
	k.mu.Unlock()
	next := base.DeepCopy()
	k.fill(next)
	if sameStatus(&base.Status, &next.Status) && time.Since(sent) < k.c.ReportEvery && !sent.IsZero() {
		return
	}
	shown, err := k.patch(ctx, base, next)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		klog.FromContext(ctx).Error(err, "Send the node's status")
		if apierrors.IsNotFound(err) && k.c.Register {
			// Somebody deleted the node while the kubelet runs.
			if node, err := k.createOrGet(ctx); err == nil {
				k.Observe(node)
			}
		}
		time.AfterFunc(200*time.Millisecond, k.Touch)
		return
	}
	k.announce(base, shown)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.adopt(shown)
	k.sent = time.Now()
}

// adopt keeps a state of the node unless a later one is known: watch and answers to
// requests overtake each other.
func (k *Keeper) adopt(node *v1.Node) {
	if k.node != nil {
		if order, err := resourceversion.CompareResourceVersion(node.ResourceVersion, k.node.ResourceVersion); err == nil && order < 0 {
			return
		}
	}
	k.node = node
}

// patch sends the difference between two statuses of the node.
func (k *Keeper) patch(ctx context.Context, base, next *v1.Node) (*v1.Node, error) {
	was, err1 := json.Marshal(v1.Node{Status: base.Status})
	is, err2 := json.Marshal(v1.Node{Status: next.Status})
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	data, err := strategicpatch.CreateTwoWayMergePatch(was, is, v1.Node{})
	if err != nil {
		return nil, err
	}
	return k.c.Client.CoreV1().Nodes().Patch(ctx, k.c.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
}

// announce makes events of the conditions that changed.
func (k *Keeper) announce(before, after *v1.Node) {
	for _, c := range after.Status.Conditions {
		for _, old := range before.Status.Conditions {
			if old.Type != c.Type || old.Status == c.Status {
				continue
			}
			switch {
			case c.Type == v1.NodeReady && c.Status == v1.ConditionTrue:
				k.c.Event(v1.EventTypeNormal, "NodeReady", fmt.Sprintf("Node %s status is now: NodeReady", k.c.Name))
			case c.Type == v1.NodeReady:
				k.c.Event(v1.EventTypeNormal, "NodeNotReady", fmt.Sprintf("Node %s status is now: NodeNotReady", k.c.Name))
			case c.Type == v1.NodeMemoryPressure, c.Type == v1.NodeDiskPressure, c.Type == v1.NodePIDPressure:
				k.c.Event(v1.EventTypeNormal, "Node"+c.Reason[len("Kubelet"):], fmt.Sprintf("Node %s status is now: Node%s", k.c.Name, c.Reason[len("Kubelet"):]))
			}
		}
	}
}

// sameStatus compares statuses but for the times of their heartbeats.
func sameStatus(a, b *v1.NodeStatus) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	for _, s := range []*v1.NodeStatus{x, y} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equality.Semantic.DeepEqual(x, y)
}
