package runtime

import (
	"errors"
	"fmt"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// security is what the container may do: its own security context over the pod's.
// See https://kubernetes.io/docs/tasks/configure-pod-container/security-context/.
func (b *Builder) security(r ContainerRequest) (*runtimeapi.LinuxContainerSecurityContext, error) {
	own, podWide := r.Container.SecurityContext, r.Pod.Spec.SecurityContext
	if own == nil {
		own = &v1.SecurityContext{}
	}
	if podWide == nil {
		podWide = &v1.PodSecurityContext{}
	}
	out := &runtimeapi.LinuxContainerSecurityContext{
		Privileged:       isTrue(own.Privileged),
		ReadonlyRootfs:   isTrue(own.ReadOnlyRootFilesystem),
		NoNewPrivs:       own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		RunAsUser:        int64Value(firstSet(own.RunAsUser, podWide.RunAsUser)),
		RunAsGroup:       int64Value(firstSet(own.RunAsGroup, podWide.RunAsGroup)),
		SelinuxOptions:   selinux(firstSet(own.SELinuxOptions, podWide.SELinuxOptions)),
		NamespaceOptions: namespaceOptions(r.Pod, r.UserNS),
	}
	out.SupplementalGroups, out.SupplementalGroupsPolicy = supplementalGroups(podWide)
	if own.Capabilities != nil {
		out.Capabilities = &runtimeapi.Capability{
			AddCapabilities: texts(own.Capabilities.Add), DropCapabilities: texts(own.Capabilities.Drop),
		}
	}
	if isTrue(firstSet(own.RunAsNonRoot, podWide.RunAsNonRoot)) {
		if err := verifyNonRoot(r, out.RunAsUser); err != nil {
			return nil, err
		}
	}
	if out.RunAsUser == nil {
		// Nothing was asked for, so the image decides.
		out.RunAsUser = r.Image.GetUid()
		out.RunAsUsername = r.Image.GetUsername()
	}
	if own.ProcMount == nil || *own.ProcMount != v1.UnmaskedProcMount {
		out.MaskedPaths, out.ReadonlyPaths = maskedProc(), readonlyProc()
	} else {
		out.MaskedPaths, out.ReadonlyPaths = []string{}, []string{}
	}
	if r.TargetID != "" && out.NamespaceOptions.Pid == runtimeapi.NamespaceMode_CONTAINER {
		out.NamespaceOptions.Pid = runtimeapi.NamespaceMode_TARGET
		out.NamespaceOptions.TargetId = r.TargetID
	}
	var err error
	if out.Seccomp, err = b.seccomp(firstSet(own.SeccompProfile, podWide.SeccompProfile)); err != nil {
		return nil, err
	}
	if out.Apparmor, err = apparmor(firstSet(own.AppArmorProfile, podWide.AppArmorProfile)); err != nil {
		return nil, err
	}
	return out, nil
}

// verifyNonRoot holds a container to runAsNonRoot. user is what the pod asked for.
func verifyNonRoot(r ContainerRequest, user *runtimeapi.Int64Value) error {
	where := fmt.Sprintf("(pod: %q, container: %s)", fmt.Sprintf("%s_%s(%s)", r.Pod.Name, r.Pod.Namespace, r.Pod.UID), r.Container.Name)
	switch {
	case user != nil && user.Value == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case user != nil:
		return nil
	case r.Image.GetUid().GetValue() == 0 && r.Image.GetUsername() == "":
		// An image that names no user runs as root.
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case r.Image.GetUid() == nil && r.Image.GetUsername() != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", r.Image.GetUsername(), where)
	}
	return nil
}

func (b *Builder) seccomp(profile *v1.SeccompProfile) (*runtimeapi.SecurityProfile, error) {
	kind := v1.SeccompProfileTypeUnconfined
	if b.SeccompDefault {
		kind = v1.SeccompProfileTypeRuntimeDefault
	}
	if profile != nil {
		kind = profile.Type
	}
	switch kind {
	case v1.SeccompProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case v1.SeccompProfileTypeLocalhost:
		if profile.LocalhostProfile == nil || *profile.LocalhostProfile == "" {
			return nil, errors.New("localhostProfile must be set if seccompProfile type is Localhost.") //nolint:revive,staticcheck // upstream's wording
		}
		return &runtimeapi.SecurityProfile{
			ProfileType:  runtimeapi.SecurityProfile_Localhost,
			LocalhostRef: filepath.Join(b.SeccompDir, filepath.FromSlash(*profile.LocalhostProfile)),
		}, nil
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
}

func apparmor(profile *v1.AppArmorProfile) (*runtimeapi.SecurityProfile, error) {
	if profile == nil {
		return nil, nil
	}
	switch profile.Type {
	case v1.AppArmorProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case v1.AppArmorProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	case v1.AppArmorProfileTypeLocalhost:
		if profile.LocalhostProfile == nil {
			return nil, errors.New("missing localhost apparmor profile name")
		}
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *profile.LocalhostProfile}, nil
	}
	return nil, fmt.Errorf("unknown AppArmor profile type: %s", profile.Type)
}

func supplementalGroups(sc *v1.PodSecurityContext) ([]int64, runtimeapi.SupplementalGroupsPolicy) {
	var groups []int64
	if sc.FSGroup != nil {
		groups = append(groups, *sc.FSGroup)
	}
	groups = append(groups, sc.SupplementalGroups...)
	policy := runtimeapi.SupplementalGroupsPolicy_Merge
	if sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == v1.SupplementalGroupsPolicyStrict {
		policy = runtimeapi.SupplementalGroupsPolicy_Strict
	}
	return groups, policy
}

func selinux(o *v1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// maskedProc are the files that say more about the host than a container should know.
func maskedProc() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// readonlyProc are the files by which the host could be changed.
func readonlyProc() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

func isTrue(b *bool) bool { return b != nil && *b }

func firstSet[T any](values ...*T) *T {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

func int64Value(n *int64) *runtimeapi.Int64Value {
	if n == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *n}
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}
