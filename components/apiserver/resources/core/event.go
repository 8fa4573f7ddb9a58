package core

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// eventLifetime is how long events are kept, in seconds (upstream's --event-ttl).
const eventLifetime = 3600

// Events tell people what happened. They are served in the core group and, under other
// field names and stricter rules, in events.k8s.io.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
func Events() *resource.Definition[*corev1.Event] {
	id := identity("Event", "events", "event", "ev")
	id.ServedAs = []schema.GroupVersion{eventsv1.SchemeGroupVersion}
	return &resource.Definition[*corev1.Event]{
		Identity:    id,
		New:         func() *corev1.Event { return new(corev1.Event) },
		NewList:     func() runtime.Object { return new(corev1.EventList) },
		AddToScheme: addNewEvents,
		// Names are checked for the newer group alone, below.
		NameValidator:            func(string, bool) []string { return nil },
		Validate:                 validateEvent,
		ValidateUpdate:           validateEventUpdate,
		AllowCreateOnUpdate:      true,
		DefaultGarbageCollection: rest.Unsupported,
		TTL:                      func(*corev1.Event) uint64 { return eventLifetime },
		Fields:                   eventFields,
		Columns:                  eventColumns(),
		Cells:                    eventCells,
	}
}

func eventFields(e *corev1.Event) fields.Set {
	about := &e.InvolvedObject
	return fields.Set{
		"involvedObject.kind":            about.Kind,
		"involvedObject.namespace":       about.Namespace,
		"involvedObject.name":            about.Name,
		"involvedObject.uid":             string(about.UID),
		"involvedObject.apiVersion":      about.APIVersion,
		"involvedObject.resourceVersion": about.ResourceVersion,
		"involvedObject.fieldPath":       about.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         cmp.Or(e.Source.Component, e.ReportingController),
		"type":                           e.Type,
	}
}

// addNewEvents makes the events of events.k8s.io known: the same content, other names.
func addNewEvents(scheme *runtime.Scheme) error {
	gv := eventsv1.SchemeGroupVersion
	scheme.AddKnownTypes(gv, new(eventsv1.Event), new(eventsv1.EventList))
	if err := addEventConversions(scheme); err != nil {
		return err
	}
	return scheme.AddFieldLabelConversionFunc(gv.WithKind("Event"), func(label, value string) (string, string, error) {
		if rest, ok := strings.CutPrefix(label, "regarding."); ok {
			label = "involvedObject." + rest
		} else if label == "reportingController" {
			label = "reportingComponent"
		} else if strings.HasPrefix(label, "involvedObject.") || label == "source" || label == "reportingComponent" {
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}
		if _, known := eventFields(new(corev1.Event))[label]; known || label == "metadata.name" || label == "metadata.namespace" {
			return label, value, nil
		}
		return "", "", fmt.Errorf("field label not supported: %s", label)
	})
}

// eventRules are the checks of one event as one version shows it.
type eventRules struct {
	problem.List
	version schema.GroupVersion
}

func rulesFor(ctx context.Context) *eventRules {
	r := &eventRules{version: corev1.SchemeGroupVersion}
	if info, found := request.RequestInfoFrom(ctx); found {
		r.version = schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	}
	return r
}

// strict reports whether the newer group's rules hold; the core group keeps to those
// it always had.
func (r *eventRules) strict() bool { return r.version == eventsv1.SchemeGroupVersion }

func validateEvent(ctx context.Context, e *corev1.Event) field.ErrorList {
	r := rulesFor(ctx)
	r.always(e)
	if !r.strict() {
		return r.Errors
	}
	for _, m := range apivalidation.NameIsDNSSubdomain(e.Name, false) {
		r.Invalid(field.NewPath("metadata", "name"), e.Name, m)
	}
	r.series(e)
	if e.EventTime.IsZero() {
		r.Required(field.NewPath("eventTime"), "")
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		r.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type))
	}
	for _, old := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()}, {"lastTimestamp", !e.LastTimestamp.IsZero()},
		{"count", e.Count != 0}, {"source", e.Source != corev1.EventSource{}},
	} {
		if old.set {
			r.Invalid(field.NewPath(old.name), "", "needs to be unset")
		}
	}
	return r.Errors
}

func validateEventUpdate(ctx context.Context, e, old *corev1.Event) field.ErrorList {
	r := rulesFor(ctx)
	r.always(e)
	if !r.strict() {
		return r.Errors
	}
	if !reflect.DeepEqual(e.Series, old.Series) {
		r.series(e)
	}
	for _, f := range []struct {
		name    string
		is, was any
	}{
		{"involvedObject", e.InvolvedObject, old.InvolvedObject}, {"reason", e.Reason, old.Reason}, {"message", e.Message, old.Message},
		{"source", e.Source, old.Source}, {"firstTimestamp", e.FirstTimestamp, old.FirstTimestamp}, {"lastTimestamp", e.LastTimestamp, old.LastTimestamp},
		{"count", e.Count, old.Count}, {"type", e.Type, old.Type}, {"action", e.Action, old.Action}, {"related", e.Related, old.Related},
		{"reportingController", e.ReportingController, old.ReportingController}, {"reportingInstance", e.ReportingInstance, old.ReportingInstance},
	} {
		r.Add(apivalidation.ValidateImmutableField(f.is, f.was, field.NewPath(f.name))...)
	}
	// What is sent has microseconds; what is stored may have more.
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		r.Add(apivalidation.ValidateImmutableField(e.EventTime, old.EventTime, field.NewPath("eventTime"))...)
	}
	return r.Errors
}

func (r *eventRules) series(e *corev1.Event) {
	if e.Series == nil {
		return
	}
	if e.Series.Count < 2 {
		r.Invalid(field.NewPath("series.count"), "", "should be at least 2")
	}
	if e.Series.LastObservedTime.IsZero() {
		r.Required(field.NewPath("series.lastObservedTime"), "")
	}
}

// always has the rules of both groups. An event that has an eventTime is of the newer kind.
func (r *eventRules) always(e *corev1.Event) {
	about := e.InvolvedObject.Namespace
	elsewhere := func() {
		r.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")
	}
	if e.EventTime.IsZero() {
		clusterWide := about == "" && (e.Namespace == metav1.NamespaceNone || e.Namespace == metav1.NamespaceDefault)
		if !clusterWide && e.Namespace != about {
			elsewhere()
		}
		return
	}
	if about == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
		elsewhere()
	}
	reporter := field.NewPath("reportingController")
	if r.version == corev1.SchemeGroupVersion {
		reporter = field.NewPath("reportingComponent")
	}
	r.NonEmpty(reporter, e.ReportingController)
	qualified(&r.List, reporter, e.ReportingController)
	bounded := func(name, value string, longest int, needed bool) {
		if value == "" && needed {
			r.Required(field.NewPath(name), "")
		}
		if len(value) > longest {
			r.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %v characters", longest))
		}
	}
	const word, note = 128, 1024
	bounded("reportingInstance", e.ReportingInstance, word, true)
	bounded("action", e.Action, word, true)
	bounded("reason", e.Reason, word, true)
	bounded("message", e.Message, note, false)
}

func eventColumns() []metav1.TableColumnDefinition {
	doc := corev1.Event{}.SwaggerDoc()
	wide := func(c metav1.TableColumnDefinition) metav1.TableColumnDefinition { return table.Wide(c)[0] }
	return []metav1.TableColumnDefinition{
		table.String("Last Seen", doc["lastTimestamp"]), table.String("Type", doc["type"]), table.String("Reason", doc["reason"]),
		table.String("Object", doc["involvedObject"]), wide(table.String("Subobject", corev1.ObjectReference{}.SwaggerDoc()["fieldPath"])),
		wide(table.String("Source", doc["source"])), table.String("Message", doc["message"]),
		wide(table.String("First Seen", doc["firstTimestamp"])), wide(table.String("Count", doc["count"])), wide(table.Name()),
	}
}

func eventCells(e *corev1.Event) []any {
	since := func(t metav1.MicroTime) string { return table.Since(metav1.Time(t)) }
	first := table.Since(e.FirstTimestamp)
	if e.FirstTimestamp.IsZero() {
		first = since(e.EventTime)
	}
	last := first
	if !e.LastTimestamp.IsZero() {
		last = table.Since(e.LastTimestamp)
	}
	count := max(e.Count, 1)
	if e.Series != nil {
		last, count = since(e.Series.LastObservedTime), e.Series.Count
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := cmp.Or(e.Source.Component, e.ReportingController)
	if host := cmp.Or(e.Source.Host, e.ReportingInstance); host != "" {
		source += ", " + host
	}
	return []any{last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), first, int64(count), e.Name}
}
