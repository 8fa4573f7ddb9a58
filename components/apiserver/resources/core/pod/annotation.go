package pod

import (
	"encoding/json"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// isMirror reports whether a kubelet made the pod to show one of its static pods.
func isMirror(annotations map[string]string) bool {
	_, mirror := annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

func padded(s string) bool { return strings.TrimSpace(s) != s }

// validateAnnotations checks the annotations that have a meaning for pods.
func validateAnnotations(annotations map[string]string, s *corev1.PodSpec, at *field.Path, o Options) field.ErrorList {
	var found problem.List
	if value, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && s.NodeName == "" {
		found.Invalid(at.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set")
	}
	if text := annotations[corev1.TolerationsAnnotationKey]; text != "" {
		var list []corev1.Toleration
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			found.Invalid(at, corev1.TolerationsAnnotationKey, err.Error())
		} else {
			found.Add(ValidateTolerations(list, at.Child(corev1.TolerationsAnnotationKey))...)
		}
	}
	if !validDeletionCost(annotations) && !o.tolerance().deletionCost {
		found.Invalid(at.Key(corev1.PodDeletionCost), annotations[corev1.PodDeletionCost], "must be a 32bit integer")
	}
	for key, value := range annotations {
		if key == corev1.SeccompPodAnnotationKey || strings.HasPrefix(key, corev1.SeccompContainerAnnotationKeyPrefix) {
			seccompAnnotation(&found, at.Child(key), value)
		}
		name, isAppArmor := strings.CutPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
		if !isAppArmor {
			continue
		}
		if !hasContainer(s, name) {
			found.Invalid(at.Key(key), name, "container not found")
		}
		switch {
		case value == "", value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined,
			strings.HasPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix):
		default:
			found.Invalid(at.Key(key), value, "invalid AppArmor profile name: "+strconv.Quote(value))
		}
	}
	return found.Errors
}

func seccompAnnotation(found *problem.List, at *field.Path, value string) {
	switch file, local := strings.CutPrefix(value, corev1.SeccompLocalhostProfileNamePrefix); {
	case local:
		found.Add(volume.ValidateDescending(file, at)...)
	case value == corev1.SeccompProfileRuntimeDefault, value == corev1.DeprecatedSeccompProfileDockerDefault, value == corev1.SeccompProfileNameUnconfined:
	default:
		found.Invalid(at, value, "must be a valid seccomp profile")
	}
}

func hasContainer(s *corev1.PodSpec, name string) bool {
	for m := range members(s, nil) {
		if m.Name == name {
			return true
		}
	}
	return false
}

// validDeletionCost reports whether the annotation is a plain 32 bit integer, or absent.
// https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost
func validDeletionCost(annotations map[string]string) bool {
	cost, given := annotations[corev1.PodDeletionCost]
	if !given {
		return true
	}
	_, err := strconv.ParseInt(cost, 10, 32)
	plain := cost == "0" || cost != "" && (cost[0] == '-' || cost[0] >= '1' && cost[0] <= '9')
	return plain && err == nil
}

// annotationChanges refuses changes of annotations that say what a pod is.
func annotationChanges(now, old map[string]string, at *field.Path) field.ErrorList {
	var found problem.List
	fixed := func(key string) string {
		switch {
		case strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			return "AppArmor annotations"
		case key == corev1.MirrorPodAnnotationKey:
			return "mirror pod annotation"
		}
		return ""
	}
	for key, was := range old {
		if what := fixed(key); what != "" {
			if is, kept := now[key]; !kept || is != was {
				found.Forbidden(at.Key(key), "may not remove or update "+what)
			}
		}
	}
	for key := range now {
		if _, known := old[key]; !known {
			if what := fixed(key); what != "" {
				found.Forbidden(at.Key(key), "may not add "+what)
			}
		}
	}
	return found.Errors
}

// profilesAgree checks that security profiles given twice, by annotation and by field,
// are the same.
func profilesAgree(annotations map[string]string, s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var found problem.List
	var podSeccomp *corev1.SeccompProfile
	var podAppArmor *corev1.AppArmorProfile
	if s.SecurityContext != nil {
		podSeccomp, podAppArmor = s.SecurityContext.SeccompProfile, s.SecurityContext.AppArmorProfile
	}
	if podSeccomp != nil {
		if value, given := annotations[corev1.SeccompPodAnnotationKey]; given {
			found.Add(agreement{"seccomp", at.Child("securityContext", "seccompProfile"), value}.seccomp(podSeccomp))
		}
	}
	for m := range members(s, at) {
		var seccomp *corev1.SeccompProfile
		appArmor := podAppArmor
		if sc := m.SecurityContext; sc != nil {
			seccomp = sc.SeccompProfile
			if sc.AppArmorProfile != nil {
				appArmor = sc.AppArmorProfile
			}
		}
		contextAt := m.at.Child("securityContext")
		if value, given := annotations[corev1.SeccompContainerAnnotationKeyPrefix+m.Name]; given && seccomp != nil {
			found.Add(agreement{"seccomp", contextAt.Child("seccompProfile"), value}.seccomp(seccomp))
		}
		if value, given := annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+m.Name]; given && appArmor != nil && !isWindows(s) {
			found.Add(agreement{"apparmor", contextAt.Child("appArmorProfile"), value}.appArmor(appArmor))
		}
	}
	return found.Errors
}

// agreement compares one annotation with the field that took its place.
type agreement struct {
	what  string
	at    *field.Path
	value string
}

func (a agreement) seccomp(p *corev1.SeccompProfile) *field.Error {
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		return a.unless(a.value == corev1.SeccompProfileNameUnconfined)
	case corev1.SeccompProfileTypeRuntimeDefault:
		return a.unless(a.value == corev1.SeccompProfileRuntimeDefault || a.value == corev1.DeprecatedSeccompProfileDockerDefault)
	case corev1.SeccompProfileTypeLocalhost:
		return a.local(corev1.SeccompLocalhostProfileNamePrefix, p.LocalhostProfile)
	}
	return nil
}

func (a agreement) appArmor(p *corev1.AppArmorProfile) *field.Error {
	switch p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		return a.unless(a.value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined)
	case corev1.AppArmorProfileTypeRuntimeDefault:
		return a.unless(a.value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault)
	case corev1.AppArmorProfileTypeLocalhost:
		return a.local(corev1.DeprecatedAppArmorBetaProfileNamePrefix, p.LocalhostProfile)
	}
	return nil
}

func (a agreement) unless(same bool) *field.Error {
	if same {
		return nil
	}
	return field.Forbidden(a.at.Child("type"), a.what+" type in annotation and field must match")
}

func (a agreement) local(prefix string, profile *string) *field.Error {
	name, isLocal := strings.CutPrefix(a.value, prefix)
	if !isLocal {
		return a.unless(false)
	}
	if profile == nil || *profile != name {
		return field.Forbidden(a.at.Child("localhostProfile"), a.what+" profile in annotation and field must match")
	}
	return nil
}
