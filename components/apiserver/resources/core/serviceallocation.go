package core

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// attachAllocation makes Services hold addresses and node ports from before they are
// written until after they are gone.
func attachAllocation(env *resource.Env, store *genericregistry.Store) error {
	if env.Services == nil {
		return nil
	}
	a := allocation{env.Services}
	store.Decorator = a.complete
	store.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		s := obj.(*corev1.Service)
		fillClusterIPs(s, nil)
		return a.begin(ctx, s, nil, dryrun.IsDryRun(o.DryRun))
	}
	store.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		s, was := obj.(*corev1.Service), old.(*corev1.Service)
		a.complete(was)
		keepAllocated(s, was)
		fillClusterIPs(s, was)
		return a.begin(ctx, s, was, dryrun.IsDryRun(o.DryRun))
	}
	store.AfterDelete = func(obj runtime.Object, o *metav1.DeleteOptions) {
		s := obj.(*corev1.Service)
		a.complete(s)
		if o == nil || !dryrun.IsDryRun(o.DryRun) {
			a.releaseAll(context.Background(), s)
		}
	}
	return nil
}

// allocation draws what Services need from the cluster's ranges.
type allocation struct{ *resource.ServiceRanges }

func (a allocation) of(f corev1.IPFamily) resource.Addresses {
	for _, r := range a.Addresses {
		if r.Family() == f {
			return r
		}
	}
	return nil
}

func (a allocation) firstFamily() corev1.IPFamily { return a.Addresses[0].Family() }

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func familyOf(ip string) corev1.IPFamily {
	if net.IsIPv6String(ip) {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func policyOf(s *corev1.Service) corev1.IPFamilyPolicy { return ptr.Deref(s.Spec.IPFamilyPolicy, "") }

func isNone(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// complete adds to Services that were stored by older servers what they lack.
func (a allocation) complete(obj runtime.Object) {
	switch o := obj.(type) {
	case *corev1.ServiceList:
		for i := range o.Items {
			a.complete(&o.Items[i])
		}
	case *corev1.Service:
		fillClusterIPs(o, nil)
		spec := &o.Spec
		if !hasClusterIP(o) {
			spec.InternalTrafficPolicy = nil
			return
		}
		if len(spec.IPFamilies) > 0 {
			return
		}
		policy := corev1.IPFamilyPolicySingleStack
		switch {
		case isNone(o) && len(spec.Selector) == 0:
			policy = corev1.IPFamilyPolicyRequireDualStack
			spec.IPFamilies = []corev1.IPFamily{a.firstFamily(), otherFamily(a.firstFamily())}
		case isNone(o):
			spec.IPFamilies = []corev1.IPFamily{a.firstFamily()}
		default:
			for _, ip := range spec.ClusterIPs {
				spec.IPFamilies = append(spec.IPFamilies, familyOf(ip))
			}
			if len(spec.IPFamilies) == 2 {
				policy = corev1.IPFamilyPolicyRequireDualStack
			}
		}
		spec.IPFamilyPolicy = &policy
	}
}

// fillClusterIPs keeps clusterIPs in step with clusterIP for clients that know only
// the latter.
func fillClusterIPs(s, old *corev1.Service) {
	is := &s.Spec
	if old == nil {
		if is.ClusterIP != "" && len(is.ClusterIPs) == 0 {
			is.ClusterIPs = []string{is.ClusterIP}
		}
		return
	}
	was := &old.Spec
	if is.ClusterIP == was.ClusterIP {
		if len(is.ClusterIPs) == 0 {
			is.ClusterIPs = was.ClusterIPs
		}
		return
	}
	if slices.Equal(is.ClusterIPs, was.ClusterIPs) {
		is.ClusterIPs = nil
		if was.ClusterIP == "" || is.ClusterIP != "" {
			is.ClusterIPs = []string{is.ClusterIP}
		}
	}
}

// keepAllocated carries over what an update leaves out because its author did not know
// what the server had chosen. Ports are recognised by name.
func keepAllocated(s, old *corev1.Service) {
	is, was := &s.Spec, &old.Spec
	if hasClusterIP(s) && hasClusterIP(old) {
		if is.ClusterIP == "" {
			is.ClusterIP = was.ClusterIP
		}
		if len(is.ClusterIPs) == 0 {
			is.ClusterIPs = was.ClusterIPs
		}
	}
	if wantsNodePorts(s) && wantsNodePorts(old) {
		before, asked := map[string]int32{}, nodePortsOf(s)
		for _, p := range was.Ports {
			before[p.Name] = p.NodePort
		}
		for i := range is.Ports {
			p := &is.Ports[i]
			if kept := before[p.Name]; p.NodePort == 0 && !slices.Contains(asked, kept) {
				p.NodePort = kept
			}
		}
	}
	if hasHealthCheck(s) && hasHealthCheck(old) && is.HealthCheckNodePort == 0 {
		is.HealthCheckNodePort = was.HealthCheckNodePort
	}
}

// taking is one Service's allocation under way: what to give back if the write fails,
// and what if it succeeds.
type taking struct {
	allocation
	holder              resource.Holder
	onFailure, onResult []func(context.Context) error
}

// begin takes what the Service needs and does not hold yet. The returned function is
// called with the outcome of the write.
func (a allocation) begin(ctx context.Context, s, old *corev1.Service, dryRun bool) (genericregistry.FinishFunc, error) {
	t := &taking{allocation: a, holder: resource.Holder{Service: s, DryRun: dryRun}}
	finish := func(ctx context.Context, success bool) {
		steps := t.onFailure
		if success {
			steps = t.onResult
		}
		if dryRun {
			return
		}
		for _, step := range steps {
			if err := step(context.WithoutCancel(ctx)); err != nil {
				utilruntime.HandleErrorWithContext(ctx, err, "Giving back what a Service held failed", "service", s.Name, "namespace", s.Namespace)
			}
		}
	}
	for _, step := range []func(context.Context, *corev1.Service, *corev1.Service) error{t.chooseFamilies, t.takeAddresses, t.takePorts, t.takeHealthPort} {
		if err := step(ctx, s, old); err != nil {
			finish(ctx, false)
			return nil, err
		}
	}
	return finish, nil
}

func invalidService(s *corev1.Service, errs ...*field.Error) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, errs)
}

// unchangedPreference is a Service that prefers dual stack and does not touch its addresses:
// it keeps what it has, whatever the cluster offers by now.
func unchangedPreference(s, old *corev1.Service) bool {
	return old != nil && s.Spec.Type == old.Spec.Type && hasClusterIP(s) &&
		policyOf(s) == corev1.IPFamilyPolicyPreferDualStack &&
		(old.Spec.IPFamilyPolicy == nil || policyOf(old) == corev1.IPFamilyPolicyPreferDualStack) &&
		slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies)
}

// chooseFamilies settles which IP families the Service has.
// https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services
func (t *taking) chooseFamilies(_ context.Context, s, old *corev1.Service) error {
	if !hasClusterIP(s) || unchangedPreference(s, old) {
		return nil
	}
	spec := &s.Spec
	anywhere := isNone(s) && len(spec.Selector) == 0 // its endpoints are somebody else's
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		switch {
		case old != nil && old.Spec.IPFamilyPolicy != nil:
			policy = *old.Spec.IPFamilyPolicy
		case anywhere:
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
	if errs := validateClusterIPs(s, old); len(errs) > 0 {
		return invalidService(s, errs...)
	}
	if errs := t.fitPolicy(s, old); len(errs) > 0 {
		return invalidService(s, errs...)
	}
	if !anywhere {
		if errs := t.offered(s); len(errs) > 0 {
			return invalidService(s, errs...)
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{t.firstFamily()}
	}
	if policyOf(s) != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && (anywhere || len(t.Addresses) == 2) {
		spec.IPFamilies = append(spec.IPFamilies, otherFamily(spec.IPFamilies[0]))
	}
	return nil
}

// fitPolicy checks and completes addresses and families under the Service's policy.
func (t *taking) fitPolicy(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec, at := &s.Spec, field.NewPath("spec")
	refuse := func(detail string) {
		errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, detail))
	}
	single := policyOf(s) == corev1.IPFamilyPolicySingleStack
	if old != nil {
		was := &old.Spec
		if single {
			if slices.Equal(spec.ClusterIPs, was.ClusterIPs) && len(spec.ClusterIPs) > 1 {
				spec.ClusterIPs = spec.ClusterIPs[:1]
			}
			if slices.Equal(spec.IPFamilies, was.IPFamilies) && len(spec.IPFamilies) > 1 {
				spec.IPFamilies = spec.IPFamilies[:1]
			}
		} else {
			if n := len(spec.ClusterIPs); n > 0 && n < len(was.ClusterIPs) {
				refuse("must be 'SingleStack' to release the secondary cluster IP")
			}
			if n := len(spec.IPFamilies); n > 0 && n < len(was.IPFamilies) {
				refuse("must be 'SingleStack' to release the secondary IP family")
			}
		}
	}
	if single && len(spec.ClusterIPs) == 2 {
		refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
	}
	if single && len(spec.IPFamilies) == 2 {
		refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
	}
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone || i < len(spec.IPFamilies) {
			continue
		}
		if family := familyOf(ip); t.of(family) == nil {
			errs = append(errs, field.Invalid(at.Child("clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
		} else {
			spec.IPFamilies = append(spec.IPFamilies, family)
		}
	}
	return errs
}

// offered checks that the cluster has the families that are asked for.
func (t *taking) offered(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	if policyOf(s) == corev1.IPFamilyPolicyRequireDualStack && len(t.Addresses) < 2 {
		errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range s.Spec.IPFamilies {
		if t.of(family) == nil {
			errs = append(errs, field.Invalid(at.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

// takeAddresses gives each family an address that has none, and lets go of those that
// the change leaves over.
func (t *taking) takeAddresses(ctx context.Context, s, old *corev1.Service) error {
	if unchangedPreference(s, old) {
		return nil
	}
	var held []string
	if old != nil && hasClusterIP(old) {
		held = old.Spec.ClusterIPs
		if isHeadless(old) {
			return nil
		}
	}
	if hasClusterIP(s) && !slices.Equal(s.Spec.ClusterIPs, []string{corev1.ClusterIPNone}) {
		ips := slices.Clone(s.Spec.ClusterIPs)
		for i, family := range s.Spec.IPFamilies {
			if i == len(ips) {
				ips = append(ips, "")
			}
			if i < len(held) {
				continue // an address does not change; validation says so if it was tried
			}
			var err error
			if ips[i], err = t.takeAddress(ctx, s, family, ips[i]); err != nil {
				return err
			}
		}
		s.Spec.ClusterIPs = ips
		if len(ips) > 0 {
			s.Spec.ClusterIP = ips[0]
		}
	}
	keeps := len(s.Spec.IPFamilies)
	if !hasClusterIP(s) {
		keeps = 0
	}
	for i := keeps; i < len(held); i++ {
		t.onResult = append(t.onResult, t.releaseAddress(held[i]))
	}
	return nil
}

func (t *taking) takeAddress(ctx context.Context, s *corev1.Service, family corev1.IPFamily, ip string) (string, error) {
	at, addresses := field.NewPath("spec", "clusterIPs"), t.of(family)
	if ip != "" {
		if err := addresses.Take(ctx, ip, t.holder); err != nil {
			return "", invalidService(s, field.Invalid(at, s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", ip, err)))
		}
	} else {
		var err error
		if ip, err = addresses.Next(ctx, t.holder); errors.Is(err, resource.ErrFull) {
			return "", apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", s.Name, err))
		} else if err != nil {
			return "", invalidService(s, field.Invalid(at, s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP: %v", err)))
		}
	}
	t.onFailure = append(t.onFailure, t.releaseAddress(ip))
	return ip, nil
}

func (a allocation) releaseAddress(ip string) func(context.Context) error {
	return func(ctx context.Context) error {
		if addresses := a.of(familyOf(ip)); addresses != nil && ip != corev1.ClusterIPNone {
			return addresses.Release(ctx, ip)
		}
		return nil
	}
}

// takePorts gives each port a node port. Ports of one number and two protocols share one.
func (t *taking) takePorts(ctx context.Context, s, old *corev1.Service) error {
	var held []int32
	if old != nil && hasNodePorts(old) {
		held = nodePortsOf(old)
	}
	if hasNodePorts(s) {
		mine := slices.Clone(held)
		shared := map[int32]int32{}
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			if p.NodePort == 0 && !wantsNodePorts(s) {
				continue
			}
			if p.NodePort == 0 && old == nil {
				p.NodePort = shareablePort(s.Spec.Ports, p.Port, shared)
			}
			if p.NodePort == 0 {
				next, err := t.NodePorts.Next(ctx, t.holder)
				if err != nil {
					return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
				}
				p.NodePort = next
			} else if !slices.Contains(mine, p.NodePort) {
				if err := t.NodePorts.Take(ctx, p.NodePort, t.holder); err != nil {
					return invalidService(s, field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort, err.Error()))
				}
			}
			if !slices.Contains(mine, p.NodePort) {
				mine = append(mine, p.NodePort)
				t.onFailure = append(t.onFailure, t.releasePort(p.NodePort))
			}
			shared[p.Port] = p.NodePort
		}
	}
	var needed []int32
	if hasNodePorts(s) {
		needed = nodePortsOf(s)
	}
	for _, p := range slices.Compact(slices.Sorted(slices.Values(held))) {
		if !slices.Contains(needed, p) {
			t.onResult = append(t.onResult, t.releasePort(p))
		}
	}
	return nil
}

// shareablePort is the node port of another port of the same number, chosen already or
// asked for further down the list.
func shareablePort(ports []corev1.ServicePort, number int32, chosen map[int32]int32) int32 {
	if p := chosen[number]; p != 0 {
		return p
	}
	for _, p := range ports {
		if p.Port == number && p.NodePort != 0 {
			return p.NodePort
		}
	}
	return 0
}

func (t *taking) takeHealthPort(ctx context.Context, s, old *corev1.Service) error {
	had := old != nil && hasHealthCheck(old)
	switch has := hasHealthCheck(s); {
	case has && !had:
		if port := s.Spec.HealthCheckNodePort; port != 0 {
			if err := t.NodePorts.Take(ctx, port, t.holder); err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", port, err))
			}
		} else {
			next, err := t.NodePorts.Next(ctx, t.holder)
			if err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", port, err))
			}
			s.Spec.HealthCheckNodePort = next
		}
		t.onFailure = append(t.onFailure, t.releasePort(s.Spec.HealthCheckNodePort))
	case had && !has:
		t.onResult = append(t.onResult, t.releasePort(old.Spec.HealthCheckNodePort))
	}
	return nil
}

func (a allocation) releasePort(port int32) func(context.Context) error {
	return func(ctx context.Context) error { return a.NodePorts.Release(ctx, port) }
}

// releaseAll gives back everything that a deleted Service held.
func (a allocation) releaseAll(ctx context.Context, s *corev1.Service) {
	var steps []func(context.Context) error
	if hasClusterIP(s) {
		for _, ip := range s.Spec.ClusterIPs {
			steps = append(steps, a.releaseAddress(ip))
		}
	}
	for _, p := range slices.Compact(slices.Sorted(slices.Values(nodePortsOf(s)))) {
		steps = append(steps, a.releasePort(p))
	}
	if hasHealthCheck(s) && s.Spec.HealthCheckNodePort != 0 {
		steps = append(steps, a.releasePort(s.Spec.HealthCheckNodePort))
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Giving back what a Service held failed", "service", s.Name, "namespace", s.Namespace)
		}
	}
}
