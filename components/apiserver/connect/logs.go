package connect

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"
)

// logs streams a container's log from its kubelet.
type logs struct{ Config }

var (
	_ rest.GetterWithOptions = &logs{}
	_ rest.StorageMetadata   = &logs{}
)

func (l *logs) New() runtime.Object { return &corev1.Pod{} }

func (l *logs) Destroy() {}

func (l *logs) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

func (l *logs) ProducesObject(string) any { return "" }

func (l *logs) OverrideMetricsVerb(verb string) string {
	if verb == http.MethodGet {
		return "CONNECT"
	}
	return verb
}

func (l *logs) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

func (l *logs) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o := options.(*corev1.PodLogOptions)
	if o.Stream == nil {
		o.Stream = ptr.To(corev1.LogStreamAll)
	}
	if errs := validateLogOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), name, errs)
	}
	location, transport, err := l.locate(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return &genericrest.LocationStreamer{
		Location: location, Transport: transport, ContentType: "text/plain", Flush: o.Follow,
		ResponseChecker:             genericrest.NewGenericHttpResponseChecker(corev1.Resource("pods/log"), name),
		RedirectChecker:             genericrest.PreventRedirects,
		TLSVerificationErrorCounter: uncounted{},
	}, nil
}

func (l *logs) locate(ctx context.Context, name string, o *corev1.PodLogOptions) (*url.URL, http.RoundTripper, error) {
	pod, err := l.pod(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	container, err := chooseContainer(pod, o.Container)
	if err != nil {
		return nil, nil, err
	}
	if pod.Spec.NodeName == "" {
		// A pod that runs nowhere has an empty log.
		return nil, nil, nil
	}
	location, transport, err := l.atKubelet(ctx, pod, fmt.Sprintf("/containerLogs/%s/%s/%s", pod.Namespace, pod.Name, container), logQuery(o))
	if err == nil && o.InsecureSkipTLSVerifyBackend {
		transport = l.Kubelets.unverified
	}
	return location, transport, err
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	query := url.Values{"stream": {*o.Stream}}
	for name, wanted := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if wanted {
			query.Set(name, "true")
		}
	}
	for name, number := range map[string]*int64{"sinceSeconds": o.SinceSeconds, "tailLines": o.TailLines, "limitBytes": o.LimitBytes} {
		if number != nil {
			query.Set(name, strconv.FormatInt(*number, 10))
		}
	}
	if o.SinceTime != nil {
		query.Set("sinceTime", rfc3339(o.SinceTime.Time))
	}
	return query
}

func validateLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	positive := func(name string, value *int64) {
		if value != nil && *value < 1 {
			errs = append(errs, field.Invalid(field.NewPath(name), *value, "must be greater than 0"))
		}
	}
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	positive("limitBytes", o.LimitBytes)
	if o.SinceSeconds != nil && o.SinceTime != nil {
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	} else {
		positive("sinceSeconds", o.SinceSeconds)
	}
	switch *o.Stream {
	case corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		if o.TailLines != nil {
			errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
		}
	default:
		errs = append(errs, field.NotSupported(field.NewPath("stream"), *o.Stream, []string{corev1.LogStreamAll, corev1.LogStreamStderr, corev1.LogStreamStdout}))
	}
	return errs
}

// uncounted is where failures to verify a kubelet go that nobody counts.
type uncounted struct{}

func (uncounted) Inc() {}
