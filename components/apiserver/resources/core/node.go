package core

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/net"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const (
	nodeRolePrefix = "node-role.kubernetes.io/"
	nodeRoleLabel  = "kubernetes.io/role"
	unknown        = "<unknown>"
	// taintsAnnotation is where taints stood before they were a field.
	taintsAnnotation = corev1.TaintsAnnotationKey
)

// Nodes are the machines that run pods. proxy reaches their kubelets.
// https://kubernetes.io/docs/concepts/architecture/nodes/
func Nodes(proxy ...resource.Subresource) *resource.Definition[*corev1.Node] {
	info := corev1.NodeSystemInfo{}.SwaggerDoc()
	addresses := corev1.NodeStatus{}.SwaggerDoc()["addresses"]
	return &resource.Definition[*corev1.Node]{
		Identity:   clusterWide("Node", "nodes", "node", "no"),
		StorageKey: "minions",
		New:        func() *corev1.Node { return new(corev1.Node) },
		NewList:    func() runtime.Object { return new(corev1.NodeList) },
		Default:    defaultNode,
		Off:        []resource.Feature{{Name: "InPlacePodVerticalScalingSchedulerPreemption", Fields: []string{"spec.podPreemptionPolicy"}}},

		PrepareForCreate: func(_ context.Context, n *corev1.Node) { n.Spec.ConfigSource, n.Status.Config = nil, nil },
		PrepareForUpdate: func(_ context.Context, n, old *corev1.Node) {
			if old.Spec.ConfigSource == nil {
				n.Spec.ConfigSource = nil
			}
		},
		Validate: func(_ context.Context, n *corev1.Node) field.ErrorList { return validateNode(n) },
		ValidateUpdate: func(_ context.Context, n, old *corev1.Node) field.ErrorList {
			return append(validateNode(n), validateNodeUpdate(n, old)...)
		},
		Warnings: nodeWarnings,

		Spec: func(n *corev1.Node) any { return &n.Spec },
		// A kubelet registers with its status.
		Status: func(n *corev1.Node) any { return &n.Status }, KeepStatusOnCreate: true,
		PrepareForStatusUpdate: func(_ context.Context, n, old *corev1.Node) {
			if old.Status.Config == nil {
				n.Status.Config = nil
			}
		},
		ValidateStatusUpdate: func(_ context.Context, n, old *corev1.Node) field.ErrorList { return validateNodeUpdate(n, old) },

		Fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		},
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(), table.String("Status", "The status of the node"), table.String("Roles", "The roles of the node"),
			table.Age(), table.String("Version", info["kubeletVersion"]),
		}, table.Wide(
			table.String("Internal-IP", addresses), table.String("External-IP", addresses), table.String("OS-Image", info["osImage"]),
			table.String("Kernel-Version", info["kernelVersion"]), table.String("Container-Runtime", info["containerRuntimeVersion"]),
		)...),
		Cells:        nodeCells,
		Subresources: proxy,
	}
}

// defaultNode keeps podCIDR and podCIDRs in step, podCIDR being the stronger, and takes
// all of a machine to be free for pods unless it says otherwise.
func defaultNode(n *corev1.Node) {
	s := &n.Spec
	switch {
	case s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR):
		s.PodCIDRs = []string{s.PodCIDR}
	case s.PodCIDR == "" && len(s.PodCIDRs) > 0:
		s.PodCIDR = s.PodCIDRs[0]
	}
	volume.RoundUp(n.Status.Capacity)
	if n.Status.Allocatable == nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	volume.RoundUp(n.Status.Allocatable)
}

func validateNode(n *corev1.Node) field.ErrorList {
	var found problem.List
	metaAt := field.NewPath("metadata")
	nodeAnnotations(&found, metaAt.Child("annotations"), n.Annotations)
	// Upstream shows the spec's taints below metadata.
	taints(&found, metaAt.Child("taints"), n.Spec.Taints)
	nodeAmounts(&found, n)
	if swap := n.Status.NodeInfo.Swap; swap != nil && swap.Capacity != nil {
		found.Positive(metaAt.Child("nodeSwapStatus", "capacity"), *swap.Capacity)
	}
	declaredFeatures(&found, field.NewPath("status", "declaredFeatures"), n.Status.DeclaredFeatures)
	at := field.NewPath("spec", "podCIDRs")
	for i, cidr := range n.Spec.PodCIDRs {
		found.Add(validation.IsValidCIDRForLegacyField(at.Index(i), cidr, true, nil)...)
	}
	if len(n.Spec.PodCIDRs) > 1 {
		dual, err := net.IsDualStackCIDRStrings(n.Spec.PodCIDRs)
		if err != nil {
			found.Add(field.InternalError(at, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err)))
		}
		if !dual || len(n.Spec.PodCIDRs) > 2 {
			found.Invalid(at, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family")
		}
	}
	return found.Errors
}

func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	var found problem.List
	metaAt, specAt, statusAt := field.NewPath("metadata"), field.NewPath("spec"), field.NewPath("status")
	nodeAnnotations(&found, metaAt.Child("annotations"), n.Annotations)
	nodeAmounts(&found, n)
	declaredFeatures(&found, statusAt.Child("declaredFeatures"), n.Status.DeclaredFeatures)
	for i, address := range n.Status.Addresses {
		if slices.Contains(n.Status.Addresses[:i], address) {
			found.Duplicate(statusAt.Child("addresses").Index(i), address)
		}
	}
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(old.Spec.PodCIDRs, n.Spec.PodCIDRs) {
		found.Forbidden(specAt.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid")
	}
	if was, is := old.Spec.ProviderID, n.Spec.ProviderID; was != "" && is != was {
		detail := "field cannot be modified once set"
		if is == "" {
			detail = "field cannot be cleared once set"
		}
		found.Add(field.Invalid(specAt.Child("providerID"), nil, detail).WithOrigin("update"))
	}
	taints(&found, metaAt.Child("taints"), n.Spec.Taints)
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		found.Forbidden(specAt.Child("externalID"), "may not be updated")
	}
	return found.Errors
}

func nodeAnnotations(found *problem.List, at *field.Path, annotations map[string]string) {
	if text := annotations[taintsAnnotation]; text != "" {
		var list []corev1.Taint
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			found.Invalid(at, taintsAnnotation, err.Error())
			return
		}
		taints(found, at.Child(taintsAnnotation), list)
	}
}

func taints(found *problem.List, at *field.Path, list []corev1.Taint) {
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[identity]bool{}
	for i, t := range list {
		itemAt := at.Index(i)
		found.Add(metav1validation.ValidateLabelName(t.Key, itemAt.Child("key"))...)
		if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
			found.Invalid(itemAt.Child("value"), t.Value, strings.Join(messages, ";"))
		}
		if t.Effect == "" {
			found.Required(itemAt.Child("effect"), "")
		} else {
			pod.ValidateTaintEffect(found, itemAt.Child("effect"), t.Effect)
		}
		if id := (identity{t.Key, t.Effect}); seen[id] {
			twice := field.Duplicate(itemAt, t)
			twice.Detail = "taints must be unique by key and effect pair"
			found.Add(twice)
		} else {
			seen[id] = true
		}
	}
}

func nodeAmounts(found *problem.List, n *corev1.Node) {
	for part, list := range map[string]corev1.ResourceList{"capacity": n.Status.Capacity, "allocatable": n.Status.Allocatable} {
		for name, amount := range list {
			found.Add(quantity.ValidateValue(name, amount, field.NewPath("status", part, string(name)))...)
		}
	}
}

var featureName = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*$`)

// declaredFeatures checks what a kubelet says it can do, for the scheduler to match pods.
func declaredFeatures(found *problem.List, at *field.Path, list []string) {
	for i, name := range list {
		itemAt := at.Index(i)
		switch {
		case len(name) > validation.DNS1123SubdomainMaxLength:
			found.Invalid(itemAt, name, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", name, validation.DNS1123SubdomainMaxLength))
		case !featureName.MatchString(name):
			found.Invalid(itemAt, name, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments separated by '/' "+
				"(e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", name))
		}
		if i == 0 {
			continue
		}
		switch strings.Compare(list[i-1], name) {
		case 0:
			found.Duplicate(itemAt, name)
		case 1:
			found.Invalid(itemAt, name, "list must be sorted alphabetically")
		}
	}
}

func nodeWarnings(_ context.Context, n, _ *corev1.Node) []string {
	var said []string
	if n.Spec.ConfigSource != nil {
		said = append(said, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		said = append(said, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	return said
}

func nodeCells(n *corev1.Node) []any {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "Ready"
			if c.Status != corev1.ConditionTrue {
				status = "NotReady"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	info := n.Status.NodeInfo
	orUnknown := func(s string) string {
		if s == "" {
			return unknown
		}
		return s
	}
	kernel := orUnknown(info.KernelVersion)
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name, status, orNone(strings.Join(nodeRoles(n.Labels), ",")), table.Since(n.CreationTimestamp), info.KubeletVersion,
		addressOf(n, corev1.NodeInternalIP), addressOf(n, corev1.NodeExternalIP), orUnknown(info.OSImage), kernel, orUnknown(info.ContainerRuntimeVersion),
	}
}

func nodeRoles(labels map[string]string) []string {
	var roles []string
	for key, value := range labels {
		if role, is := strings.CutPrefix(key, nodeRolePrefix); is && role != "" {
			roles = append(roles, role)
		} else if key == nodeRoleLabel && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func addressOf(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return table.None
}
