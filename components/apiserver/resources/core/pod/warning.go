package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TemplateWarnings tells of what is valid in a pod template and yet most likely a mistake. Paths of
// one volume's files that overlap are not looked for.
func TemplateWarnings(t *corev1.PodTemplateSpec, at *field.Path) []string {
	w := &warner{meta: &t.ObjectMeta, spec: &t.Spec, metaAt: at.Child("metadata"), at: at.Child("spec"), template: true}
	return w.all()
}

// podWarnings are those of a pod itself.
func podWarnings(p *corev1.Pod) []string {
	w := &warner{meta: &p.ObjectMeta, spec: &p.Spec, metaAt: field.NewPath("metadata"), at: field.NewPath("spec")}
	return w.all()
}

// warner goes through one pod spec.
type warner struct {
	meta       *metav1.ObjectMeta
	spec       *corev1.PodSpec
	metaAt, at *field.Path
	template   bool
	said       []string
}

func (w *warner) say(at *field.Path, format string, args ...any) {
	w.said = append(w.said, at.String()+": "+fmt.Sprintf(format, args...))
}

func (w *warner) all() []string {
	w.placement()
	w.annotations()
	w.volumes()
	w.lists()
	w.amounts(w.at.Child("overhead"), w.spec.Overhead)
	for m := range members(w.spec, w.at) {
		w.container(m)
	}
	w.ports()
	if g := w.spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.say(w.at.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	return w.said
}

func (w *warner) placement() {
	for _, key := range slices.Sorted(maps.Keys(w.spec.NodeSelector)) {
		if message := deprecatedNodeLabel(key); message != "" {
			w.say(w.at.Child("nodeSelector").Key(key), "%s", message)
		}
	}
	for i, spread := range w.spec.TopologySpreadConstraints {
		at := w.at.Child("topologySpreadConstraints").Index(i)
		if message := deprecatedNodeLabel(spread.TopologyKey); message != "" {
			w.say(at.Child("topologyKey"), "%s is %s", spread.TopologyKey, message)
		}
		w.selects(spread.LabelSelector, at.Child("labelSelector"))
	}
	affinity, at := w.spec.Affinity, w.at.Child("affinity")
	if affinity == nil {
		return
	}
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if node := affinity.NodeAffinity; node != nil {
		at := at.Child("nodeAffinity")
		if node.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			for i, term := range node.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
				w.said = append(w.said, NodeTermWarnings(term, false, at.Child(required, "nodeSelectorTerms").Index(i))...)
			}
		}
		for i, term := range node.PreferredDuringSchedulingIgnoredDuringExecution {
			w.said = append(w.said, NodeTermWarnings(term.Preference, true, at.Child(preferred).Index(i).Child("preference"))...)
		}
	}
	terms := func(at *field.Path, must []corev1.PodAffinityTerm, should []corev1.WeightedPodAffinityTerm) {
		for i, term := range must {
			w.selects(term.LabelSelector, at.Child(required).Index(i).Child("labelSelector"))
		}
		for i, term := range should {
			w.selects(term.PodAffinityTerm.LabelSelector, at.Child(preferred).Index(i).Child("podAffinityTerm", "labelSelector"))
		}
	}
	if near := affinity.PodAffinity; near != nil {
		terms(at.Child("podAffinity"), near.RequiredDuringSchedulingIgnoredDuringExecution, near.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if apart := affinity.PodAntiAffinity; apart != nil {
		terms(at.Child("podAntiAffinity"), apart.RequiredDuringSchedulingIgnoredDuringExecution, apart.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (w *warner) selects(selector *metav1.LabelSelector, at *field.Path) {
	if selector == nil {
		w.say(at, "a null labelSelector results in matching no pod")
	}
}

// NodeTermWarnings tells of labels that nodes are no longer known by, and, where validation lets them
// pass, of values that no label can have.
func NodeTermWarnings(term corev1.NodeSelectorTerm, checkValues bool, at *field.Path) []string {
	var said []string
	for i, expression := range term.MatchExpressions {
		at := at.Child("matchExpressions").Index(i)
		if message := deprecatedNodeLabel(expression.Key); message != "" {
			said = append(said, fmt.Sprintf("%s: %s is %s", at.Child("key"), expression.Key, message))
		}
		if !checkValues {
			continue
		}
		for j, value := range expression.Values {
			for _, message := range validation.IsValidLabelValue(value) {
				said = append(said, fmt.Sprintf("%s: %s is invalid, %s", at.Child("values").Index(j), value, message))
			}
		}
	}
	return said
}

func deprecatedNodeLabel(key string) string {
	switch key {
	case corev1.LabelZoneFailureDomain: //nolint:staticcheck // that is what is told
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`
	case corev1.LabelZoneRegion: //nolint:staticcheck // likewise
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`
	case corev1.LabelInstanceType: //nolint:staticcheck // likewise
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9"
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead"
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`
	}
	return ""
}

func (w *warner) annotations() {
	tell := func(key, message string) {
		if _, set := w.meta.Annotations[key]; set {
			w.say(w.metaAt.Child("annotations").Key(key), "%s", message)
		}
	}
	tell("scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`)
	for _, key := range []string{"security.alpha.kubernetes.io/sysctls", "security.alpha.kubernetes.io/unsafe-sysctls"} {
		tell(key, `non-functional in v1.11+; use the "sysctls" field instead`)
	}
	const seccomp = `non-functional in v1.27+; use the "seccompProfile" field instead`
	whole := w.spec.SecurityContext
	if whole == nil || whole.SeccompProfile == nil {
		tell(corev1.SeccompPodAnnotationKey, seccomp) //nolint:staticcheck // that is what is told
	}
	for m := range members(w.spec, w.at) {
		own := m.SecurityContext
		if own == nil || own.SeccompProfile == nil {
			tell(corev1.SeccompContainerAnnotationKeyPrefix+m.Name, seccomp) //nolint:staticcheck // likewise
		}
		if !w.template || own != nil && own.AppArmorProfile != nil {
			continue
		}
		key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + m.Name
		if whole == nil || whole.AppArmorProfile == nil || !equality.Semantic.DeepEqual(whole.AppArmorProfile, appArmorProfile(w.meta.Annotations[key])) {
			tell(key, `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	}
}

func (w *warner) volumes() {
	for i, v := range w.spec.Volumes {
		for _, kind := range []struct {
			used    bool
			name    string
			message string
		}{
			{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
			{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"}, //nolint:staticcheck // that is what is told
			{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
			{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
			{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
			{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
			{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
		} {
			if kind.used {
				w.say(w.at.Child("volumes").Index(i).Child(kind.name), "%s", kind.message)
			}
		}
	}
}

// lists tells of what is named twice, and of secrets without a name.
func (w *warner) lists() {
	for i, alias := range w.spec.HostAliases {
		at := w.at.Child("hostAliases").Index(i).Child("ip")
		if slices.ContainsFunc(w.spec.HostAliases[:i], func(a corev1.HostAlias) bool { return a.IP == alias.IP }) {
			w.say(at, "duplicate ip %q", alias.IP)
		}
		w.said = append(w.said, validation.GetWarningsForIP(at, alias.IP)...)
	}
	for i, secret := range w.spec.ImagePullSecrets {
		at := w.at.Child("imagePullSecrets").Index(i).Child("name")
		if slices.Contains(w.spec.ImagePullSecrets[:i], secret) {
			w.say(at, "duplicate name %q", secret.Name)
		}
		if secret.Name == "" {
			w.say(at, "invalid empty name %q", secret.Name)
		}
	}
	if dns := w.spec.DNSConfig; dns != nil {
		for i, server := range dns.Nameservers {
			w.said = append(w.said, validation.GetWarningsForIP(w.at.Child("dnsConfig", "nameservers").Index(i), server)...)
		}
	}
}

// amounts tells of parts of a byte.
func (w *warner) amounts(at *field.Path, list corev1.ResourceList) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if amount, set := list[name]; set && amount.MilliValue()%1000 != 0 {
			w.say(at.Key(string(name)), "fractional byte value %q is invalid, must be an integer", amount.String())
		}
	}
}

func (w *warner) container(m member) {
	w.amounts(m.at.Child("resources", "limits"), m.Resources.Limits)
	w.amounts(m.at.Child("resources", "requests"), m.Resources.Requests)
	seen := map[string]bool{}
	for i, e := range m.Env {
		// A value that builds on the one before is meant.
		itself := "$(" + e.Name + ")"
		builds := e.ValueFrom == nil && e.Value != itself && strings.Contains(e.Value, itself)
		if seen[e.Name] && !builds {
			w.say(m.at.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		seen[e.Name] = true
	}
}

// ports tells of ports that two containers, or one, have twice.
func (w *warner) ports() {
	type port struct {
		corev1.ContainerPort
		at *field.Path
	}
	var all []port
	for m := range members(w.spec, w.at) {
		for i, p := range m.Ports {
			this := port{p, m.at.Child("ports").Index(i)}
			if p.HostIP != "" && p.HostPort == 0 {
				w.say(this.at, "hostIP set without hostPort: %+v", p)
			}
			for _, other := range all {
				if other.ContainerPort.ContainerPort != p.ContainerPort || other.Protocol != p.Protocol {
					continue
				}
				switch oneHasIP := (p.HostIP == "") != (other.HostIP == ""); {
				case p.HostIP == other.HostIP && p.HostPort == other.HostPort:
					w.say(this.at, "duplicate port definition with %s", other.at)
				case p.HostPort == 0 || other.HostPort == 0:
					w.say(this.at, "overlapping port definition with %s", other.at)
				case p.HostPort == other.HostPort && oneHasIP:
					w.say(this.at, "dangerously ambiguous port definition with %s", other.at)
				}
			}
			all = append(all, this)
		}
	}
	named := map[string]*field.Path{}
	for _, p := range all {
		if p.Name == "" {
			continue
		}
		if first, taken := named[p.Name]; taken {
			w.say(p.at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, first, first)
			continue
		}
		named[p.Name] = p.at
	}
}
