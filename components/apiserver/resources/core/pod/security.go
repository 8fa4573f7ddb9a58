package pod

import (
	"fmt"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// security checks the pod's own security context and what it shares with its host.
func (c *checker) security(at *field.Path) {
	s := c.spec
	if sc := s.SecurityContext; sc != nil {
		c.podSecurity(at.Child("securityContext"), sc)
	}
	if s.HostPID && ptr.Deref(s.ShareProcessNamespace, false) {
		c.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	if ptr.Deref(s.HostUsers, true) {
		return
	}
	const inUserNamespace = "when `hostUsers` is false"
	if s.HostNetwork && !c.hostNetworkInUserNamespace {
		c.Forbidden(at.Child("hostNetwork"), inUserNamespace)
	}
	if s.HostPID {
		c.Forbidden(at.Child("HostPID"), inUserNamespace)
	}
	if s.HostIPC {
		c.Forbidden(at.Child("HostIPC"), inUserNamespace)
	}
	for m := range members(s, at) {
		if len(m.VolumeDevices) > 0 && !c.devicesInUserNamespace {
			c.Forbidden(m.at.Child("volumeDevices"), inUserNamespace)
		}
	}
}

func (c *checker) podSecurity(at *field.Path, sc *corev1.PodSecurityContext) {
	c.id(at.Child("fsGroup"), sc.FSGroup, validation.IsValidGroupID)
	c.id(at.Child("runAsUser"), sc.RunAsUser, validation.IsValidUserID)
	c.id(at.Child("runAsGroup"), sc.RunAsGroup, validation.IsValidGroupID)
	for i, g := range sc.SupplementalGroups {
		c.id(at.Child("supplementalGroups").Index(i), &g, validation.IsValidGroupID)
	}
	c.sysctls(at.Child("sysctls"), sc.Sysctls)
	if p := sc.FSGroupChangePolicy; p != nil {
		problem.OneOf(&c.List, at.Child("fsGroupChangePolicy"), *p, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	}
	c.seccomp(at.Child("seccompProfile"), sc.SeccompProfile)
	c.windowsOptions(at.Child("windowsOptions"), sc.WindowsOptions)
	c.appArmor(at.Child("appArmorProfile"), sc.AppArmorProfile)
	if p := sc.SupplementalGroupsPolicy; p != nil {
		problem.OneOf(&c.List, at.Child("supplementalGroupsPolicy"), *p, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	if p := sc.SELinuxChangePolicy; p != nil {
		problem.OneOf(&c.List, at.Child("seLinuxChangePolicy"), *p, corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)
	}
}

func (c *checker) containerSecurity(at *field.Path, sc *corev1.SecurityContext) {
	if sc == nil {
		return
	}
	c.id(at.Child("runAsUser"), sc.RunAsUser, validation.IsValidUserID)
	c.id(at.Child("runAsGroup"), sc.RunAsGroup, validation.IsValidGroupID)
	if p := sc.ProcMount; p != nil {
		problem.OneOf(&c.List, at.Child("procMount"), *p, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if *p == corev1.UnmaskedProcMount && ptr.Deref(c.spec.HostUsers, true) {
			c.Invalid(at.Child("procMount"), p, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	c.seccomp(at.Child("seccompProfile"), sc.SeccompProfile)
	if isPrivileged(sc) && !ptr.Deref(sc.AllowPrivilegeEscalation, true) {
		c.Invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
	}
	if contradictsEscalation(sc) && !c.sysAdminWithoutEscalation {
		c.Invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
	}
	c.windowsOptions(at.Child("windowsOptions"), sc.WindowsOptions)
	c.appArmor(at.Child("appArmorProfile"), sc.AppArmorProfile)
}

func isPrivileged(sc *corev1.SecurityContext) bool {
	return sc != nil && ptr.Deref(sc.Privileged, false)
}

// contradictsEscalation reports whether a container gives up escalation and yet asks
// for the capability that makes escalation possible.
func contradictsEscalation(sc *corev1.SecurityContext) bool {
	return sc != nil && !ptr.Deref(sc.AllowPrivilegeEscalation, true) &&
		sc.Capabilities != nil && slices.Contains(sc.Capabilities.Add, "CAP_SYS_ADMIN")
}

func (c *checker) id(at *field.Path, id *int64, check func(int64) []string) {
	if id != nil {
		c.Messages(at, *id, check(*id))
	}
}

func (c *checker) seccomp(at *field.Path, p *corev1.SeccompProfile) {
	if p == nil {
		return
	}
	if p.Type == "" {
		c.Required(at.Child("type"), "type is required when seccompProfile is set")
	} else {
		problem.OneOf(&c.List, at.Child("type"), p.Type,
			corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	}
	fileAt := at.Child("localhostProfile")
	switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && p.LocalhostProfile == nil:
		c.Required(fileAt, "must be set when seccomp type is Localhost")
	case local:
		c.Add(volume.ValidateDescending(*p.LocalhostProfile, fileAt)...)
	case p.LocalhostProfile != nil:
		c.Invalid(fileAt, p, "can only be set when seccomp type is Localhost")
	}
}

func (c *checker) appArmor(at *field.Path, p *corev1.AppArmorProfile) {
	if p == nil {
		return
	}
	const needsName, longest = "must be set when AppArmor type is Localhost", 4095
	nameAt := at.Child("localhostProfile")
	name := ptr.Deref(p.LocalhostProfile, "")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		switch {
		case name == "":
			c.Required(nameAt, needsName)
		case padded(name):
			c.Invalid(nameAt, name, "must not be padded with whitespace")
		}
		if len(name) > longest {
			c.Add(field.TooLong(nameAt, "", longest))
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			c.Invalid(nameAt, p.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		c.Required(at.Child("type"), "type is required when appArmorProfile is set")
	default:
		c.Add(field.NotSupported(at.Child("type"), p.Type, []corev1.AppArmorProfileType{
			corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined}))
	}
}

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (c *checker) sysctls(at *field.Path, list []corev1.Sysctl) {
	const longest = 253
	seen := map[string]bool{}
	for i, s := range list {
		nameAt := at.Index(i).Child("name")
		switch {
		case s.Name == "":
			c.Required(nameAt, "")
		case len(s.Name) > longest || !sysctlName.MatchString(s.Name):
			c.Invalid(nameAt, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", longest, sysctlName))
		case seen[s.Name]:
			c.Duplicate(nameAt, s.Name)
		}
		seen[s.Name] = true
		if shared := sysctlOfHost(s.Name, c.spec); shared != "" && !c.namespacedSysctls {
			c.Invalid(nameAt, s.Name, fmt.Sprintf("may not be specified when '%s' is true", shared))
		}
	}
}

// sysctlOfHost names the field that makes the sysctl the host's own, if one does.
func sysctlOfHost(name string, s *corev1.PodSpec) string {
	switch namespace, _, _ := sysctl.GetNamespace(name); {
	case s.HostNetwork && namespace == sysctl.NetNamespace:
		return "hostNetwork"
	case s.HostIPC && namespace == sysctl.IPCNamespace:
		return "hostIPC"
	}
	return ""
}
