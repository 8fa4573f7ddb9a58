// Package podsecurity holds pods to the security standard that their namespace's labels name. The rules
// are the library's.
// See https://kubernetes.io/docs/concepts/security/pod-security-admission/.
package podsecurity

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	podadmission "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"
)

// Name is the plugin's.
const Name = "PodSecurity"

// Objects reads namespaces and their pods.
type Objects struct {
	Namespace func(ctx context.Context, namespace, name string) (*corev1.Namespace, error)
	Pods      func(ctx context.Context, namespace string) ([]*corev1.Pod, error)
}

// GetNamespace implements the library's NamespaceGetter.
func (o Objects) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return o.Namespace(ctx, "", name)
}

// ListPods implements the library's PodLister.
func (o Objects) ListPods(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	return o.Pods(ctx, namespace)
}

// Plugin implements admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	rules *podadmission.Admission
}

var _ admission.ValidationInterface = &Plugin{}

// New reads the plugin's configuration, which may be nil.
func New(objects Objects, configuration io.Reader) (*Plugin, error) {
	config, err := load.LoadFromReader(configuration)
	if err != nil {
		return nil, err
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	rules := &podadmission.Admission{
		Configuration: config, Evaluator: evaluator, Metrics: unmeasured{}, PodSpecExtractor: podadmission.DefaultPodSpecExtractor{},
		NamespaceGetter: objects, PodLister: objects,
	}
	if err := rules.CompleteConfiguration(); err != nil {
		return nil, err
	}
	if err := rules.ValidateConfiguration(); err != nil {
		return nil, err
	}
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), rules: rules}, nil
}

// Validate asks the rules, and passes on their warnings.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	gr := a.GetResource().GroupResource()
	if gr != corev1.Resource("pods") && gr != corev1.Resource("namespaces") && !p.rules.PodSpecExtractor.HasPodSpec(gr) {
		return nil
	}
	answer := p.rules.Validate(ctx, attributes{a})
	for _, text := range answer.Warnings {
		warning.AddWarning(ctx, "", text)
	}
	for _, key := range slices.Sorted(maps.Keys(answer.AuditAnnotations)) {
		audit.AddAuditAnnotation(ctx, api.AuditAnnotationPrefix+key, answer.AuditAnnotations[key])
	}
	if answer.Allowed {
		return nil
	}
	return refusal(a, answer)
}

func refusal(a admission.Attributes, answer *admissionv1.AdmissionResponse) error {
	err := admission.NewForbidden(a, errors.New("Not allowed by PodSecurity")) //nolint:staticcheck // the API's wording
	var status *apierrors.StatusError
	if answer.Result == nil || !errors.As(err, &status) {
		return err
	}
	if answer.Result.Message != "" {
		status.ErrStatus.Message = answer.Result.Message
	}
	if answer.Result.Reason != "" {
		status.ErrStatus.Reason = answer.Result.Reason
	}
	if answer.Result.Details != nil {
		status.ErrStatus.Details = answer.Result.Details
	}
	if answer.Result.Code != 0 {
		status.ErrStatus.Code = answer.Result.Code
	}
	return err
}

// attributes shows a request as the library wants it.
type attributes struct{ admission.Attributes }

func (a attributes) GetObject() (runtime.Object, error)    { return a.Attributes.GetObject(), nil }
func (a attributes) GetOldObject() (runtime.Object, error) { return a.Attributes.GetOldObject(), nil }
func (a attributes) GetUserName() string                   { return a.GetUserInfo().GetName() }
func (a attributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(a.Attributes.GetOperation())
}

// unmeasured is where evaluations go that nobody counts.
type unmeasured struct{}

func (unmeasured) RecordEvaluation(metrics.Decision, api.LevelVersion, metrics.Mode, api.Attributes) {
}
func (unmeasured) RecordExemption(api.Attributes)   {}
func (unmeasured) RecordError(bool, api.Attributes) {}
