package core

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addEventConversions teaches the scheme to show an event of the core group as one of
// events.k8s.io and back.
func addEventConversions(scheme *runtime.Scheme) error {
	for _, c := range []struct {
		from, to any
		convert  conversion.ConversionFunc
	}{
		{new(eventsv1.Event), new(corev1.Event), func(in, out any, _ conversion.Scope) error {
			*out.(*corev1.Event) = olderEvent(in.(*eventsv1.Event))
			return nil
		}},
		{new(corev1.Event), new(eventsv1.Event), func(in, out any, _ conversion.Scope) error {
			*out.(*eventsv1.Event) = newerEvent(in.(*corev1.Event))
			return nil
		}},
		{new(eventsv1.EventList), new(corev1.EventList), func(in, out any, _ conversion.Scope) error {
			from, to := in.(*eventsv1.EventList), out.(*corev1.EventList)
			to.ListMeta, to.Items = from.ListMeta, make([]corev1.Event, len(from.Items))
			for i := range from.Items {
				to.Items[i] = olderEvent(&from.Items[i])
			}
			return nil
		}},
		{new(corev1.EventList), new(eventsv1.EventList), func(in, out any, _ conversion.Scope) error {
			from, to := in.(*corev1.EventList), out.(*eventsv1.EventList)
			to.ListMeta, to.Items = from.ListMeta, make([]eventsv1.Event, len(from.Items))
			for i := range from.Items {
				to.Items[i] = newerEvent(&from.Items[i])
			}
			return nil
		}},
	} {
		if err := scheme.AddConversionFunc(c.from, c.to, c.convert); err != nil {
			return err
		}
	}
	return nil
}

func olderEvent(e *eventsv1.Event) corev1.Event {
	older := corev1.Event{
		ObjectMeta: e.ObjectMeta, InvolvedObject: e.Regarding, Related: e.Related,
		Type: e.Type, Reason: e.Reason, Action: e.Action, Message: e.Note,
		EventTime: e.EventTime, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp,
		Count: e.DeprecatedCount, Source: e.DeprecatedSource,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if s := e.Series; s != nil {
		older.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return older
}

func newerEvent(e *corev1.Event) eventsv1.Event {
	newer := eventsv1.Event{
		ObjectMeta: e.ObjectMeta, Regarding: e.InvolvedObject, Related: e.Related,
		Type: e.Type, Reason: e.Reason, Action: e.Action, Note: e.Message,
		EventTime: e.EventTime, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
		DeprecatedCount: e.Count, DeprecatedSource: e.Source,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if s := e.Series; s != nil {
		newer.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return newer
}
