package namespace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// findings is what one attempt to empty a namespace found out.
type findings struct {
	discovery  error
	parsing    error
	content    []error
	remaining  map[schema.GroupVersionResource]int
	finalizers map[string]int
}

func newFindings() *findings {
	return &findings{remaining: map[schema.GroupVersionResource]int{}, finalizers: map[string]int{}}
}

// err is what failed, as opposed to what merely takes its time.
func (f *findings) err() error {
	return errors.Join(append([]error{f.discovery, f.parsing}, f.content...)...)
}

// verdict is one condition in its two states.
type verdict struct {
	kind            corev1.NamespaceConditionType
	good, goodText  string
	bad, badMessage string
}

func (f *findings) verdicts() []verdict {
	return []verdict{
		{corev1.NamespaceDeletionDiscoveryFailure, "ResourcesDiscovered", "All resources successfully discovered", "DiscoveryFailed", f.discoveryMessage()},
		{corev1.NamespaceDeletionGVParsingFailure, "ParsedGroupVersions", "All legacy kube types successfully parsed", "GroupVersionParsingFailed", text(f.parsing)},
		{corev1.NamespaceDeletionContentFailure, "ContentDeleted", "All content successfully deleted, may be waiting on finalization", "ContentDeletionFailed", f.contentMessage()},
		{corev1.NamespaceContentRemaining, "ContentRemoved", "All content successfully removed", "SomeResourcesRemain", f.remainingMessage()},
		{corev1.NamespaceFinalizersRemaining, "ContentHasNoFinalizers", "All content-preserving finalizers finished", "SomeFinalizersRemain", f.finalizersMessage()},
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (f *findings) discoveryMessage() string {
	var partial *discovery.ErrGroupDiscoveryFailed
	if errors.As(f.discovery, &partial) {
		return fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(partial.Groups), f.discovery)
	}
	return text(f.discovery)
}

func (f *findings) contentMessage() string {
	if len(f.content) == 0 {
		return ""
	}
	return fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(f.content), sorted(f.content, error.Error))
}

func (f *findings) remainingMessage() string {
	var parts []string
	for resource, count := range f.remaining {
		parts = append(parts, fmt.Sprintf("%s.%s has %d resource instances", resource.Resource, resource.Group, count))
	}
	if len(parts) == 0 {
		return ""
	}
	return "Some resources are remaining: " + sorted(parts, strings.Clone)
}

func (f *findings) finalizersMessage() string {
	var parts []string
	for finalizer, count := range f.finalizers {
		parts = append(parts, fmt.Sprintf("%s in %d resource instances", finalizer, count))
	}
	if len(parts) == 0 {
		return ""
	}
	return "Some content in the namespace has finalizers remaining: " + sorted(parts, strings.Clone)
}

func sorted[T any](parts []T, of func(T) string) string {
	texts := make([]string, len(parts))
	for i, part := range parts {
		texts[i] = of(part)
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// apply sets the conditions and returns whether any of them changed.
func (f *findings) apply(status *corev1.NamespaceStatus, now time.Time) bool {
	changed := false
	for _, v := range f.verdicts() {
		wanted := corev1.NamespaceCondition{Type: v.kind, Status: corev1.ConditionFalse, Reason: v.good, Message: v.goodText, LastTransitionTime: metav1.NewTime(now)}
		if v.badMessage != "" {
			wanted.Status, wanted.Reason, wanted.Message = corev1.ConditionTrue, v.bad, v.badMessage
		}
		i := slices.IndexFunc(status.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == v.kind })
		if i < 0 {
			status.Conditions = append(status.Conditions, wanted)
			changed = true
			continue
		}
		old := &status.Conditions[i]
		if old.Status == wanted.Status {
			wanted.LastTransitionTime = old.LastTransitionTime
		}
		if *old != wanted {
			*old = wanted
			changed = true
		}
	}
	return changed
}
