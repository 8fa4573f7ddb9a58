package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// SpecWarnings tells of what is valid in a spec and yet most likely a mistake. It has
// the ones that people meet; upstream has some more for deprecated labels and volumes.
func SpecWarnings(s *corev1.PodSpec, at *field.Path) []string {
	var said []string
	say := func(at *field.Path, format string, args ...any) {
		said = append(said, at.String()+": "+fmt.Sprintf(format, args...))
	}
	if s.DeprecatedServiceAccount != "" && s.DeprecatedServiceAccount != s.ServiceAccountName {
		say(at.Child("serviceAccount"), "deprecated")
	}
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		say(at.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	for i, ref := range s.ImagePullSecrets {
		if ref.Name == "" {
			say(at.Child("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", ref.Name)
		}
	}
	for i, alias := range s.HostAliases {
		for j := range i {
			if s.HostAliases[j].IP == alias.IP {
				say(at.Child("hostAliases").Index(i).Child("ip"), "duplicate ip %q", alias.IP)
				break
			}
		}
	}
	for m := range members(s, at) {
		seen := map[string]bool{}
		for i, e := range m.Env {
			if seen[e.Name] {
				say(m.at.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
			}
			seen[e.Name] = true
		}
		for _, list := range []struct {
			name    string
			amounts corev1.ResourceList
		}{{"limits", m.Resources.Limits}, {"requests", m.Resources.Requests}} {
			for name, amount := range list.amounts {
				if (name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage) && amount.MilliValue()%1000 != 0 {
					say(m.at.Child("resources", list.name).Key(string(name)), "fractional byte value %q is invalid, must be an integer", amount.String())
				}
			}
		}
	}
	return said
}
