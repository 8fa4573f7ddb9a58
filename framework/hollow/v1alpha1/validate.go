package v1alpha1

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// MaxNodes is the largest number of nodes that makes sense on one machine.
const MaxNodes = 20000

// Validate says, field by field, what is wrong with what stands at a path.
func (s *Spec) Validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, group := range s.Nodes {
		errs = append(errs, group.validate(at.Child("nodes").Index(i))...)
		if names[group.Name] {
			errs = append(errs, field.Duplicate(at.Child("nodes").Index(i).Child("name"), group.Name))
		}
		names[group.Name] = true
	}
	if total := s.Total(); total > MaxNodes {
		errs = append(errs, field.Invalid(at.Child("nodes"), total, fmt.Sprintf("must be at most %d nodes together", MaxNodes)))
	}
	for i, rule := range s.Pods {
		errs = append(errs, rule.validate(at.Child("pods").Index(i))...)
	}
	for i, outage := range s.Outages {
		path := at.Child("outages").Index(i)
		if len(outage.Nodes) == 0 {
			errs = append(errs, field.Required(path.Child("nodes"), "the names, or patterns of them, of the nodes that fall silent"))
		}
		errs = append(errs, validatePatterns(outage.Nodes, path.Child("nodes"))...)
		errs = append(errs, validateSpan(&outage.After, path.Child("after"))...)
		errs = append(errs, validateSpan(outage.For, path.Child("for"))...)
	}
	errs = append(errs, s.validateCIDR(at.Child("cidr"))...)
	return append(errs, s.Heartbeat.validate(at.Child("heartbeat"))...)
}

// validateCIDR is of a range that has room for every node and its pods.
func (s *Spec) validateCIDR(at *field.Path) field.ErrorList {
	prefix, err := netip.ParsePrefix(s.CIDR)
	if err != nil || !prefix.Addr().Is4() {
		return field.ErrorList{field.Invalid(at, s.CIDR, "must be an IPv4 range in CIDR notation, such as 100.64.0.0/10")}
	}
	if prefix != prefix.Masked() {
		return field.ErrorList{field.Invalid(at, s.CIDR, fmt.Sprintf("must have no address bits beyond the prefix: %s", prefix.Masked()))}
	}
	if bits := s.SubnetBits(); prefix.Bits() > bits || 1<<(bits-prefix.Bits()) < s.Total() {
		return field.ErrorList{field.Invalid(at, s.CIDR, fmt.Sprintf("has no room for %d nodes with a /%d each", s.Total(), bits))}
	}
	return nil
}

// SubnetBits is the prefix length of a node's part of the range: /24 as usual, larger for
// nodes of more pods.
func (s *Spec) SubnetBits() int {
	// The first address is the network's, the second the node's, the last for broadcasts.
	const usual, taken, most = 24, 3, 1 << 20
	bits := usual
	for _, group := range s.Nodes {
		pods := group.Capacity[corev1.ResourcePods]
		for min(pods.Value(), most)+taken > 1<<(32-bits) {
			bits--
		}
	}
	return bits
}

func (g *Group) validate(at *field.Path) (errs field.ErrorList) {
	const room = len("-20000")
	for _, problem := range validation.IsDNS1123Label(g.Name) {
		errs = append(errs, field.Invalid(at.Child("name"), g.Name, problem))
	}
	if len(g.Name)+room > validation.DNS1123LabelMaxLength {
		errs = append(errs, field.TooLong(at.Child("name"), g.Name, validation.DNS1123LabelMaxLength-room))
	}
	if g.Count < 0 || g.Count > MaxNodes {
		errs = append(errs, field.Invalid(at.Child("count"), g.Count, fmt.Sprintf("must be 0 to %d", MaxNodes)))
	}
	for name, amount := range g.Capacity {
		for _, problem := range validation.IsQualifiedName(string(name)) {
			errs = append(errs, field.Invalid(at.Child("capacity"), string(name), problem))
		}
		if amount.Sign() < 0 {
			errs = append(errs, field.Invalid(at.Child("capacity").Key(string(name)), amount.String(), "must not be negative"))
		}
	}
	for key, values := range g.Labels {
		for _, problem := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(at.Child("labels"), key, problem))
		}
		if len(values) == 0 {
			errs = append(errs, field.Required(at.Child("labels").Key(key), "a value, or a list of those that the nodes take in turn"))
		}
		for _, value := range values {
			for _, problem := range validation.IsValidLabelValue(value) {
				errs = append(errs, field.Invalid(at.Child("labels").Key(key), value, problem))
			}
		}
	}
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
	for i, taint := range g.Taints {
		path := at.Child("taints").Index(i)
		for _, problem := range validation.IsQualifiedName(taint.Key) {
			errs = append(errs, field.Invalid(path.Child("key"), taint.Key, problem))
		}
		if taint.Effect != effects[0] && taint.Effect != effects[1] && taint.Effect != effects[2] {
			errs = append(errs, field.NotSupported(path.Child("effect"), taint.Effect, effects))
		}
	}
	return errs
}

func (r *Rule) validate(at *field.Path) field.ErrorList {
	errs := validatePatterns(r.Match.Namespaces, at.Child("match", "namespaces"))
	errs = append(errs, validatePatterns(r.Match.Nodes, at.Child("match", "nodes"))...)
	if r.Match.Labels != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(r.Match.Labels, metav1validation.LabelSelectorValidationOptions{}, at.Child("match", "labels"))...)
	}
	spans := []struct {
		name string
		span *Span
	}{
		{"startAfter", &r.StartAfter}, {"readyAfter", &r.ReadyAfter}, {"finishAfter", r.FinishAfter},
		{"restartAfter", r.RestartAfter}, {"terminateAfter", &r.TerminateAfter},
	}
	for _, s := range spans {
		errs = append(errs, validateSpan(s.span, at.Child(s.name))...)
	}
	for i, code := range r.ExitCodes {
		if code < 0 || code > 255 {
			errs = append(errs, field.Invalid(at.Child("exitCodes").Index(i), code, "must be 0 to 255"))
		}
	}
	if len(r.ExitCodes) > 0 && r.FinishAfter == nil {
		errs = append(errs, field.Required(at.Child("finishAfter"), "what runs for ever has no exit code"))
	}
	if r.Refuse != nil && r.Stuck != nil {
		errs = append(errs, field.Forbidden(at.Child("stuck"), "a pod that is refused cannot be stuck as well"))
	}
	for name, reason := range map[string]*Reason{"refuse": r.Refuse, "stuck": r.Stuck} {
		if reason == nil {
			continue
		}
		if reason.Reason == "" || strings.ContainsAny(reason.Reason, " \n") {
			errs = append(errs, field.Invalid(at.Child(name, "reason"), reason.Reason, "must be one word, such as ImagePullBackOff"))
		}
		if r.FinishAfter != nil || r.ReadyAfter != (Span{}) || r.RestartAfter != nil {
			errs = append(errs, field.Forbidden(at.Child(name), "the pod never runs, so it has no readyAfter, finishAfter or restartAfter"))
		}
	}
	return errs
}

func validatePatterns(patterns []string, at *field.Path) (errs field.ErrorList) {
	for i, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			errs = append(errs, field.Invalid(at.Index(i), pattern, "must be a name or a pattern such as batch-*"))
		}
	}
	return errs
}

func validateSpan(s *Span, at *field.Path) field.ErrorList {
	switch {
	case s == nil:
		return nil
	case s.From < 0:
		return field.ErrorList{field.Invalid(at, s.String(), "must not be negative")}
	case s.To < s.From:
		return field.ErrorList{field.Invalid(at, s.String(), "must not end before it begins")}
	}
	return nil
}

func (h *Heartbeat) validate(at *field.Path) (errs field.ErrorList) {
	if h.RenewInterval.Duration <= 0 {
		errs = append(errs, field.Invalid(at.Child("renewInterval"), h.RenewInterval.Duration.String(), "must be more than 0"))
	}
	if h.LeaseDuration.Duration <= h.RenewInterval.Duration {
		errs = append(errs, field.Invalid(at.Child("leaseDuration"), h.LeaseDuration.Duration.String(), fmt.Sprintf("must be more than renewInterval, %s", h.RenewInterval.Duration)))
	}
	if h.ReportInterval.Duration <= 0 {
		errs = append(errs, field.Invalid(at.Child("reportInterval"), h.ReportInterval.Duration.String(), "must be more than 0"))
	}
	return errs
}
