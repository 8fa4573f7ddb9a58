package pod

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

func isWindows(s *corev1.PodSpec) bool { return s.OS != nil && s.OS.Name == corev1.Windows }

// platform checks what a pod asks for against the operating system that it names.
func (c *checker) platform(at *field.Path) {
	c.hostProcesses(at)
	os := c.spec.OS
	if os == nil {
		return
	}
	nameAt := at.Child("os", "name")
	switch os.Name {
	case "":
		c.Required(nameAt, "")
	case corev1.Linux:
		c.linuxOnly(at)
	case corev1.Windows:
		c.windowsOnly(at)
	default:
		c.Add(field.NotSupported(at.Child("os"), os.Name, []corev1.OSName{corev1.Linux, corev1.Windows}))
	}
}

func (c *checker) linuxOnly(at *field.Path) {
	refuse := func(options *corev1.WindowsSecurityContextOptions, contextAt *field.Path) {
		if options != nil {
			c.Forbidden(contextAt.Child("windowsOptions"), "windows options cannot be set for a linux pod")
		}
	}
	if sc := c.spec.SecurityContext; sc != nil {
		refuse(sc.WindowsOptions, at.Child("securityContext"))
	}
	for m := range members(c.spec, at) {
		if m.SecurityContext != nil {
			refuse(m.SecurityContext.WindowsOptions, m.at.Child("securityContext"))
		}
	}
}

func (c *checker) windowsOnly(at *field.Path) {
	const refusal = "cannot be set for a windows pod"
	s := c.spec
	if sc := s.SecurityContext; sc != nil {
		c.Add(problem.OnlyFields(*sc, at.Child("securityContext"), refusal, "WindowsOptions", "RunAsNonRoot")...)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"hostUsers", s.HostUsers != nil}, {"hostPID", s.HostPID}, {"hostIPC", s.HostIPC},
		{"shareProcessNamespace", s.ShareProcessNamespace != nil},
	} {
		if f.set {
			c.Forbidden(at.Child(f.name), refusal)
		}
	}
	for m := range members(s, at) {
		if m.SecurityContext != nil {
			c.Add(problem.OnlyFields(*m.SecurityContext, m.at.Child("securityContext"), refusal, "WindowsOptions", "RunAsNonRoot")...)
		}
	}
}

// hostProcesses checks Windows HostProcess containers: all of a pod's or none.
// https://kubernetes.io/docs/tasks/configure-pod-container/create-hostprocess-pod/
func (c *checker) hostProcesses(at *field.Path) {
	var pod *bool
	if sc := c.spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		pod = sc.WindowsOptions.HostProcess
	}
	some, all := false, true
	for m := range members(c.spec, at) {
		own := pod
		if sc := m.SecurityContext; sc != nil && sc.WindowsOptions != nil && sc.WindowsOptions.HostProcess != nil {
			own = sc.WindowsOptions.HostProcess
			if pod != nil && *pod != *own {
				c.Invalid(m.at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
					fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *pod))
			}
		}
		some = some || ptr.Deref(own, false)
		all = all && ptr.Deref(own, false)
	}
	if some && !all {
		c.Invalid(at, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if some && !c.spec.HostNetwork {
		c.Invalid(at.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

var (
	controlCharacter = regexp.MustCompile(`[[:cntrl:]]`)
	netBIOSName      = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	windowsDNSName   = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
)

func (c *checker) windowsOptions(at *field.Path, o *corev1.WindowsSecurityContextOptions) {
	if o == nil {
		return
	}
	if o.GMSACredentialSpecName != nil {
		c.Messages(at.Child("gmsaCredentialSpecName"), o.GMSACredentialSpecName, validation.IsDNS1123Subdomain(*o.GMSACredentialSpecName))
	}
	const mostKiB = 64
	if spec := o.GMSACredentialSpec; spec != nil {
		switch specAt := at.Child("gmsaCredentialSpec"); {
		case *spec == "":
			c.Invalid(specAt, spec, "gmsaCredentialSpec cannot be an empty string")
		case len(*spec) > mostKiB<<10:
			c.Invalid(specAt, spec, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", mostKiB))
		}
	}
	if o.RunAsUserName != nil {
		for _, m := range windowsUserName(*o.RunAsUserName) {
			c.Invalid(at.Child("runAsUserName"), o.RunAsUserName, m)
		}
	}
}

// windowsUserName checks DOMAIN\user or user.
func windowsUserName(name string) []string {
	const longestDomain, longestUser = 255, 104
	domain, user, qualified := strings.Cut(name, `\`)
	if !qualified {
		domain, user = "", name
	}
	switch {
	case name == "":
		return []string{"runAsUserName cannot be an empty string"}
	case controlCharacter.MatchString(name):
		return []string{"runAsUserName cannot contain control characters"}
	case strings.Contains(user, `\`):
		return []string{"runAsUserName cannot contain more than one backslash"}
	}
	var messages []string
	if len(domain) > longestDomain {
		messages = append(messages, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", longestDomain+1))
	}
	if qualified && !netBIOSName.MatchString(domain) && !windowsDNSName.MatchString(domain) {
		messages = append(messages, "runAsUserName's Domain doesn't match the NetBios nor the DNS format")
	}
	switch {
	case user == "":
		return append(messages, "runAsUserName's User cannot be empty")
	case len(user) > longestUser:
		messages = append(messages, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", longestUser))
	}
	if strings.Trim(user, ". ") == "" {
		messages = append(messages, "runAsUserName's User cannot contain only periods or spaces")
	}
	if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
		messages = append(messages, `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return messages
}
