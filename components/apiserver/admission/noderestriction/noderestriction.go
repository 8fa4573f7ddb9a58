// Package noderestriction keeps kubelets to their own node and to the pods on it. The node authorizer has
// judged by names; this judges by what is written.
// See https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction.
package noderestriction

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	kubeletapis "k8s.io/kubelet/pkg/apis"
)

// Name is the plugin's.
const Name = "NodeRestriction"

// Objects reads what the restriction hangs on.
type Objects struct {
	Pod  func(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Node func(ctx context.Context, namespace, name string) (*corev1.Node, error)
	// Account is a service account.
	Account func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	// NodeOf says whether a user is a kubelet, and of which node.
	NodeOf func(user.Info) (name string, isNode bool)
}

// Plugin implements admission.MutationInterface, as upstream's does: it must refuse before others change
// anything.
type Plugin struct {
	*admission.Handler
	objects Objects
}

var _ admission.MutationInterface = &Plugin{}

// New restricts kubelets.
func New(objects Objects) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete), objects: objects}
}

type check func(ctx context.Context, node string, a admission.Attributes) error

// Admit refuses what a kubelet must not do.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, isNode := p.objects.NodeOf(a.GetUserInfo())
	if !isNode {
		return nil
	}
	if node == "" {
		return admission.NewForbidden(a, fmt.Errorf("could not determine node from user %q", a.GetUserInfo().GetName()))
	}
	checks := map[schema.GroupResource]check{
		corev1.Resource("pods"):                               p.pod,
		corev1.Resource("nodes"):                              p.node,
		corev1.Resource("persistentvolumeclaims"):             p.claim,
		corev1.Resource("serviceaccounts"):                    p.account,
		coordinationv1.Resource("leases"):                     p.lease,
		storagev1.Resource("csinodes"):                        p.csiNode,
		resourcev1.Resource("resourceslices"):                 p.slice,
		certificatesv1.Resource("certificatesigningrequests"): p.certificateRequest,
		certificatesv1.Resource("podcertificaterequests"):     p.podCertificate,
	}
	if judge := checks[a.GetResource().GroupResource()]; judge != nil {
		err := judge(ctx, node, a)
		var status *apierrors.StatusError
		if err == nil || errors.As(err, &status) {
			return err
		}
		return admission.NewForbidden(a, err)
	}
	return nil
}

func (p *Plugin) pod(ctx context.Context, node string, a admission.Attributes) error {
	switch a.GetSubresource() {
	case "":
		switch a.GetOperation() {
		case admission.Create:
			return p.mirrorPod(ctx, node, a)
		case admission.Delete:
			return p.onNode(ctx, node, a.GetNamespace(), a.GetName(), "node %q can only delete pods with spec.nodeName set to itself")
		}
		return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", a.GetOperation(), node)
	case "status":
		return podStatus(node, a)
	case "eviction":
		eviction, ok := a.GetObject().(*policyv1.Eviction)
		if !ok || a.GetOperation() != admission.Create {
			return fmt.Errorf("unexpected operation %s", a.GetOperation())
		}
		name := a.GetName()
		if name == "" {
			name = eviction.Name
		}
		if name == "" {
			return errors.New("could not determine pod from request data")
		}
		return p.onNode(ctx, node, a.GetNamespace(), name, "node %s can only evict pods with spec.nodeName set to itself")
	}
	return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.GetSubresource())
}

func (p *Plugin) onNode(ctx context.Context, node, namespace, name, message string) error {
	pod, err := p.objects.Pod(ctx, namespace, name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf(message, node)
	}
	return nil
}

// mirrorPod admits the image of a static pod, which belongs to the node and opens nothing to it.
func (p *Plugin) mirrorPod(ctx context.Context, node string, a admission.Attributes) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node)
	}
	if len(pod.OwnerReferences) > 1 {
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node)
	}
	if len(pod.OwnerReferences) == 0 {
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
	case owner.Controller == nil || !*owner.Controller:
		return fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", node)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	object, err := p.objects.Node(ctx, "", node)
	if err != nil {
		return err
	}
	if owner.UID != object.UID {
		return fmt.Errorf("node %s UID mismatch: expected %s got %s", node, owner.UID, object.UID)
	}
	if what := referenceIn(pod); what != "" {
		return fmt.Errorf("node %q can not create pods that reference %s", node, what)
	}
	return nil
}

func podStatus(node string, a admission.Attributes) error {
	old, ok := a.GetOldObject().(*corev1.Pod)
	pod, also := a.GetObject().(*corev1.Pod)
	if a.GetOperation() != admission.Update || !ok || !also {
		return fmt.Errorf("unexpected operation %q", a.GetOperation())
	}
	switch {
	case old.Spec.NodeName != node:
		return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node)
	case !maps.Equal(old.Labels, pod.Labels):
		return fmt.Errorf("node %q cannot update labels through pod status", node)
	case !apiequality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses):
		return fmt.Errorf("node %q cannot update resource claim statues", node)
	case !apiequality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus):
		return fmt.Errorf("node %q cannot update extended resource claim status", node)
	}
	return nil
}

func (p *Plugin) node(_ context.Context, node string, a admission.Attributes) error {
	object, _ := a.GetObject().(*corev1.Node)
	name := a.GetName()
	if name == "" && object != nil {
		name = object.Name
	}
	if name != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, name)
	}
	switch a.GetOperation() {
	case admission.Create:
		if object.Spec.ConfigSource != nil {
			return fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if labels := forbiddenLabels(object.Labels, nil); len(labels) > 0 {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(labels, ", "))
		}
	case admission.Update:
		return nodeUpdate(node, object, a)
	}
	return nil
}

func nodeUpdate(node string, object *corev1.Node, a admission.Attributes) error {
	old, ok := a.GetOldObject().(*corev1.Node)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetOldObject())
	}
	switch {
	case object.Spec.ConfigSource != nil && !apiequality.Semantic.DeepEqual(object.Spec.ConfigSource, old.Spec.ConfigSource):
		return fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", node)
	case !apiequality.Semantic.DeepEqual(object.Spec.Taints, old.Spec.Taints):
		return fmt.Errorf("node %q is not allowed to modify taints", node)
	case !apiequality.Semantic.DeepEqual(object.OwnerReferences, old.OwnerReferences):
		return fmt.Errorf("node %q is not allowed to modify ownerReferences", node)
	}
	if labels := forbiddenLabels(object.Labels, old.Labels); len(labels) > 0 {
		return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(labels, ", "))
	}
	return nil
}

// forbiddenLabels are the changed labels by which a node could draw pods to itself that it should
// not get.
func forbiddenLabels(now, before map[string]string) []string {
	var forbidden []string
	for _, key := range slices.Sorted(maps.Keys(union(now, before))) {
		value, has := now[key]
		if was, had := before[key]; has == had && value == was {
			continue
		}
		domain, _, prefixed := strings.Cut(key, "/")
		if !prefixed {
			continue
		}
		restricted := within(domain, corev1.LabelNamespaceNodeRestriction)
		reserved := (within(domain, "kubernetes.io") || within(domain, "k8s.io")) && !kubeletapis.IsKubeletLabel(key)
		if restricted || reserved {
			forbidden = append(forbidden, key)
		}
	}
	return forbidden
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(b)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, a)
	return all
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// claim lets a kubelet report a volume's size, and nothing else.
func (p *Plugin) claim(_ context.Context, node string, a admission.Attributes) error {
	if a.GetSubresource() != "status" {
		return errors.New("may only update PVC status")
	}
	old, ok := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	claim, also := a.GetObject().(*corev1.PersistentVolumeClaim)
	if a.GetOperation() != admission.Update || !ok || !also {
		return fmt.Errorf("unexpected operation %q", a.GetOperation())
	}
	rest := func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
		c = c.DeepCopy()
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions = nil, nil
		c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil
		return c
	}
	if !apiequality.Semantic.DeepEqual(rest(old), rest(claim)) {
		return fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions", node)
	}
	return nil
}

// account gives a kubelet tokens for its own pods only.
func (p *Plugin) account(ctx context.Context, node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "token" {
		return nil
	}
	request, ok := a.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return errors.New("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return errors.New("node requested token with a pod binding without a uid")
	}
	pod, err := p.objects.Pod(ctx, a.GetNamespace(), ref.Name)
	if err != nil {
		return err
	}
	if ref.UID != pod.UID {
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if pod.Spec.NodeName != node {
		return errors.New("node requested token bound to a pod scheduled on a different node")
	}
	return nil
}

func (p *Plugin) lease(_ context.Context, node string, a admission.Attributes) error {
	if a.GetNamespace() != corev1.NamespaceNodeLease {
		return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	name := a.GetName()
	if lease, ok := a.GetObject().(*coordinationv1.Lease); ok && a.GetOperation() == admission.Create {
		name = lease.Name
	}
	if name != node {
		return errors.New("can only access node lease with the same name as the requesting node")
	}
	return nil
}

func (p *Plugin) csiNode(_ context.Context, node string, a admission.Attributes) error {
	name := a.GetName()
	if object, ok := a.GetObject().(*storagev1.CSINode); ok && a.GetOperation() == admission.Create {
		name = object.Name
	}
	if name != node {
		return errors.New("can only access CSINode with the same name as the requesting node")
	}
	return nil
}

func (p *Plugin) slice(_ context.Context, node string, a admission.Attributes) error {
	object, verb := a.GetObject(), "create"
	switch a.GetOperation() {
	case admission.Delete:
		object, verb = a.GetOldObject(), "delete"
	case admission.Create:
	default:
		return nil
	}
	slice, ok := object.(*resourcev1.ResourceSlice)
	if !ok || slice.Spec.NodeName == nil || *slice.Spec.NodeName != node {
		return fmt.Errorf("can only %s ResourceSlice with the same NodeName as the requesting node", verb)
	}
	return nil
}

func (p *Plugin) certificateRequest(_ context.Context, node string, a admission.Attributes) error {
	request, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if a.GetOperation() != admission.Create || !ok {
		return nil
	}
	if request.Spec.SignerName != certificatesv1.KubeletServingSignerName && request.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	block, _ := pem.Decode(request.Spec.Request)
	if block == nil {
		return errors.New("unable to parse csr: PEM block type must be CERTIFICATE REQUEST")
	}
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("unable to parse csr: %w", err)
	}
	if asked.Subject.CommonName != "system:node:"+node {
		return fmt.Errorf("can only create a node CSR with CN=system:node:%s", node)
	}
	return nil
}

// referenceIn names the first kind of object that a pod refers to.
func referenceIn(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName != "" {
		return "serviceaccounts"
	}
	if len(pod.Spec.ImagePullSecrets) > 0 {
		return "secrets (via imagePullSecrets)"
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		return "resourceclaims (via resourceClaims)"
	}
	containers := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	for _, e := range pod.Spec.EphemeralContainers {
		containers = append(containers, corev1.Container(e.EphemeralContainerCommon))
	}
	for _, c := range containers {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				return "secrets (via env)"
			}
			if from.ConfigMapRef != nil {
				return "configmaps (via env)"
			}
		}
		for _, env := range c.Env {
			if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
				return "secrets (via env)"
			}
			if env.ValueFrom != nil && env.ValueFrom.ConfigMapKeyRef != nil {
				return "configmaps (via env)"
			}
		}
	}
	for _, v := range pod.Spec.Volumes {
		if what := volumeReference(&v.VolumeSource); what != "" {
			return what
		}
	}
	return ""
}

func volumeReference(v *corev1.VolumeSource) string {
	switch {
	case v.Secret != nil:
		return "secrets (via secret volumes)"
	case v.ConfigMap != nil:
		return "configmap (via configmap volumes)"
	case v.PersistentVolumeClaim != nil || v.Ephemeral != nil:
		return "persistentvolumeclaims"
	case v.CSI != nil || v.AzureFile != nil || v.CephFS != nil || v.Cinder != nil || v.FlexVolume != nil || v.ISCSI != nil || v.RBD != nil || v.ScaleIO != nil || v.StorageOS != nil:
		return "secrets (via volumes)"
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			switch {
			case s.ServiceAccountToken != nil:
				return "serviceaccounts (via projected volumes)"
			case s.Secret != nil:
				return "secrets (via projected volumes)"
			case s.ConfigMap != nil:
				return "configmaps (via projected volumes)"
			case s.ClusterTrustBundle != nil:
				return "clustertrustbundles"
			}
		}
	}
	return ""
}
