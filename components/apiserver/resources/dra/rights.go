package dra

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// rights checks what needs more than a right to write the claim.
type rights struct{ env *resource.Env }

func (r *rights) attach(env *resource.Env, _ *genericregistry.Store) error {
	r.env = env
	return nil
}

// checkAdmin lets only marked namespaces reach devices that are in use.
func (r *rights) checkAdmin(ctx context.Context, requests []resourcev1.DeviceRequest, namespace string) field.ErrorList {
	for i, request := range requests {
		if request.Exactly != nil && ptr.Deref(request.Exactly.AdminAccess, false) {
			return r.checkNamespace(ctx, namespace, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
		}
	}
	return nil
}

func (r *rights) checkNamespace(ctx context.Context, name string, at *field.Path) field.ErrorList {
	store, err := r.env.Store(corev1.Resource("namespaces"))
	if err != nil {
		return field.ErrorList{field.InternalError(at, err)}
	}
	obj, err := store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	}
	if ns, ok := obj.(*corev1.Namespace); ok && ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] == "true" {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf(
		"admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
}

// checkStatus separates who allocates devices from who reports on them (KEP-4817).
func (r *rights) checkStatus(ctx context.Context, c, old *resourcev1.ResourceClaim) field.ErrorList {
	var errs field.ErrorList
	if i := adminResult(&c.Status); i >= 0 && adminResult(&old.Status) < 0 {
		errs = append(errs, r.checkNamespace(ctx, c.Namespace, field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess"))...)
	}
	errs = append(errs, r.checkBinding(ctx, &c.Status, &old.Status)...)
	if c.Status.Allocation != nil {
		errs = append(errs, r.checkDrivers(ctx, &c.Status, &old.Status)...)
	}
	return errs
}

// adminResult finds the first result with admin access, or -1.
func adminResult(status *resourcev1.ResourceClaimStatus) int {
	if status.Allocation != nil {
		for i, result := range status.Allocation.Devices.Results {
			if ptr.Deref(result.AdminAccess, false) {
				return i
			}
		}
	}
	return -1
}

func (r *rights) checkBinding(ctx context.Context, now, was *resourcev1.ResourceClaimStatus) field.ErrorList {
	if apiequality.Semantic.DeepEqual(now.Allocation, was.Allocation) && apiequality.Semantic.DeepEqual(now.ReservedFor, was.ReservedFor) {
		return nil
	}
	at := field.NewPath("status", "allocation")
	request, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("cannot build authorizer attributes: %w", err))}
	}
	asked := narrowed{Attributes: request, verb: request.GetVerb(), subresource: resourcev1.SubresourceBinding}
	if err := r.ask(ctx, asked); err != nil {
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf(
			`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, asked.verb, err))}
	}
	return nil
}

// checkDrivers asks, for each driver whose devices' reports change, whether the user
// may report for it: on any node, or on the node that the user runs on.
func (r *rights) checkDrivers(ctx context.Context, now, was *resourcev1.ResourceClaimStatus) field.ErrorList {
	changed := changedDrivers(now.Devices, was.Devices)
	if len(changed) == 0 {
		return nil
	}
	at := field.NewPath("status", "devices")
	request, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("cannot build authorizer attributes: %w", err))}
	}
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + request.GetVerb()}
	if runsOn(request.GetUser(), allocatedNode(now.Allocation)) {
		verbs = append([]string{resourcev1.VerbPrefixAssociatedNode + request.GetVerb()}, verbs...)
	}
	var errs field.ErrorList
	for _, driver := range sets.List(changed) {
		var refusal error
		for _, verb := range verbs {
			err := r.ask(ctx, narrowed{request, verb, resourcev1.SubresourceDriver, request.GetNamespace(), driver})
			if err == nil {
				refusal = nil
				break
			}
			if refusal == nil {
				refusal = err
			}
		}
		if refusal != nil {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf(
				`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, refusal)))
		}
	}
	return errs
}

func changedDrivers(now, was []resourcev1.AllocatedDeviceStatus) sets.Set[string] {
	before := map[device]resourcev1.AllocatedDeviceStatus{}
	for _, d := range was {
		before[reportedDevice(d)] = d
	}
	drivers := sets.New[string]()
	for _, d := range now {
		id := reportedDevice(d)
		if old, known := before[id]; !known || !apiequality.Semantic.DeepEqual(old, d) {
			drivers.Insert(d.Driver)
		}
		delete(before, id)
	}
	for id := range before {
		drivers.Insert(id.driver)
	}
	return drivers
}

// allocatedNode is the node that an allocation is tied to, "" if to none or several.
func allocatedNode(a *resourcev1.AllocationResult) string {
	if a == nil || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	term := a.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) > 0 || len(term.MatchFields) != 1 {
		return ""
	}
	by := term.MatchFields[0]
	if by.Key != metav1.ObjectNameField || by.Operator != corev1.NodeSelectorOpIn || len(by.Values) != 1 {
		return ""
	}
	return by.Values[0]
}

// runsOn says whether a user is a service account whose token is bound to a node.
func runsOn(who user.Info, node string) bool {
	nodes := who.GetExtra()[serviceaccount.NodeNameKey]
	return node != "" && strings.HasPrefix(who.GetName(), serviceaccount.ServiceAccountUsernamePrefix) && len(nodes) == 1 && nodes[0] == node
}

func (r *rights) ask(ctx context.Context, attributes authorizer.Attributes) error {
	decision, reason, err := r.env.Authorizer.Authorize(ctx, attributes)
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		reason = strings.TrimSuffix(err.Error()+": "+reason, ": ")
	}
	return responsewriters.ForbiddenStatusError(attributes, reason)
}

// narrowed are the attributes of the request, asked about a part of the claim.
type narrowed struct {
	authorizer.Attributes
	verb, subresource, namespace, name string
}

// GetVerb is what the user would do to the part.
func (n narrowed) GetVerb() string { return n.verb }

// GetSubresource is the part.
func (n narrowed) GetSubresource() string { return n.subresource }

// GetNamespace is empty for rights that are held everywhere.
func (n narrowed) GetNamespace() string { return n.namespace }

// GetName is the driver, or empty.
func (n narrowed) GetName() string { return n.name }
