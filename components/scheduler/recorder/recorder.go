// Package recorder writes the scheduler's events, in the group events.k8s.io. An event that repeats itself within minutes
// becomes a series, as client-go's broadcaster has it. A scheduler writes an event for every pod it binds: so what waits to
// be written, and what is remembered for the sake of series, are an event's words alone, the API object is made when it
// is sent, by a few writers, and what the API server answers to a success is not read.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
package recorder

import (
	"fmt"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	"k8s.io/klog/v2"
)

// recorder records events under one scheduler's name.
type recorder struct {
	writer               *Writer
	controller, instance string
	logger               klog.Logger
}

// For returns what records events under a scheduler's name.
func (w *Writer) For(controller string) events.EventRecorderLogger {
	host, _ := os.Hostname() // without, the instance is the name alone
	return recorder{writer: w, controller: controller, instance: controller + "-" + host, logger: klog.Background()}
}

// WithLogger returns a recorder that logs there what cannot be recorded.
func (r recorder) WithLogger(logger klog.Logger) events.EventRecorderLogger {
	r.logger = logger
	return r
}

// Eventf records an event. What cannot be recorded is logged.
func (r recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) { //nolint:revive // the interface's arguments
	now := time.Now()
	message := fmt.Sprintf(note, args...)
	about, err := reference.GetReference(scheme.Scheme, regarding)
	if err != nil {
		r.logger.Error(err, "Could not construct reference, will not report event", "object", regarding, "eventType", kind, "reason", reason, "message", message)
		return
	}
	if !util.ValidateEventType(kind) {
		r.logger.Error(nil, "Unsupported event type", "eventType", kind)
		return
	}
	e := &event{
		kind: kind, reason: reason, action: action, controller: r.controller, instance: r.instance, regarding: *about,
		note: message, name: util.GenerateEventName(about.Name, now.UnixNano()), namespace: about.Namespace, at: now,
	}
	if e.namespace == "" {
		e.namespace = v1.NamespaceDefault
	}
	if related != nil {
		if e.related, err = reference.GetReference(scheme.Scheme, related); err != nil {
			r.logger.V(9).Info("Could not construct reference", "object", related, "err", err)
		}
	}
	r.writer.record(e)
}
