package core

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/ptr"
)

func TestNodeDefaults(t *testing.T) {
	n := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: "10.88.1.0/24"}, Status: corev1.NodeStatus{Capacity: corev1.ResourceList{"cpu": resource.MustParse("2")}}}
	defaultNode(n)
	if !slices.Equal(n.Spec.PodCIDRs, []string{"10.88.1.0/24"}) || n.Status.Allocatable.Cpu().Value() != 2 {
		t.Errorf("%+v", n)
	}
	n.Status.Allocatable["cpu"] = resource.MustParse("1")
	if n.Status.Capacity.Cpu().Value() != 2 {
		t.Error("allocatable and capacity are one map")
	}
}

func TestNodeUpdate(t *testing.T) {
	old := &corev1.Node{Spec: corev1.NodeSpec{PodCIDRs: []string{"10.88.1.0/24"}, ProviderID: "a"}}
	n := old.DeepCopy()
	n.Spec.PodCIDRs, n.Spec.ProviderID = []string{"10.88.2.0/24"}, "b"
	n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}, {Key: "k", Effect: corev1.TaintEffectNoSchedule}, {Key: "k"}}
	want := []string{
		"spec.podCIDRs: Forbidden node updates may not change podCIDR except from \"\" to valid",
		"spec.providerID: Invalid value field cannot be modified once set",
		"metadata.taints[1]: Duplicate value taints must be unique by key and effect pair",
		"metadata.taints[2].effect: Required value",
	}
	if got := said(validateNodeUpdate(n, old)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSecret(t *testing.T) {
	s := &corev1.Secret{Data: map[string][]byte{"a": []byte("1")}, StringData: map[string]string{"a": "2", "b": "3"}}
	defaultSecret(s)
	if string(s.Data["a"]) != "2" || string(s.Data["b"]) != "3" || s.StringData != nil || s.Type != corev1.SecretTypeOpaque {
		t.Errorf("%+v", s)
	}
	for kind, want := range map[corev1.SecretType][]string{
		corev1.SecretTypeTLS:                 {"data[tls.crt]: Required value", "data[tls.key]: Required value"},
		corev1.SecretTypeBasicAuth:           {"data[username]: Required value", "data[password]: Required value"},
		corev1.SecretTypeServiceAccountToken: {"metadata.annotations[kubernetes.io/service-account.name]: Required value"},
		"example.com/own":                    nil,
	} {
		if got := said(validateSecret(&corev1.Secret{Type: kind})); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", kind, got, want)
		}
	}
}

func TestImmutableConfigMap(t *testing.T) {
	old := &corev1.ConfigMap{Data: map[string]string{"a": "1"}, Immutable: ptr.To(true)}
	c := old.DeepCopy()
	c.Data["a"], c.Immutable = "2", nil
	want := []string{"immutable: Forbidden " + frozen, "data: Forbidden " + frozen}
	if got := said(ConfigMaps().ValidateUpdate(context.Background(), c, old)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestNamespacePhase(t *testing.T) {
	n := &corev1.Namespace{Status: corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating}}
	want := []string{"status.Phase: Invalid value may only be 'Active' if `deletionTimestamp` is empty"}
	if got := said(validatePhase(context.Background(), n, nil)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	n.DeletionTimestamp = ptr.To(metav1.Now())
	if got := validatePhase(context.Background(), n, nil); got != nil {
		t.Errorf("got %q", got)
	}
}

// An event is checked by the rules of the group it is written through.
func TestEventRules(t *testing.T) {
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "shop"}, InvolvedObject: corev1.ObjectReference{Namespace: "shop"},
		Type: "Normal", Reason: "Pulled", Count: 1, FirstTimestamp: metav1.Now(),
	}
	through := func(gv schema.GroupVersion) context.Context {
		return request.WithRequestInfo(context.Background(), &request.RequestInfo{APIGroup: gv.Group, APIVersion: gv.Version})
	}
	if got := validateEvent(through(corev1.SchemeGroupVersion), event); got != nil {
		t.Errorf("core: %v", got)
	}
	want := []string{"eventTime: Required value", "firstTimestamp: Invalid value needs to be unset", "count: Invalid value needs to be unset"}
	if got := said(validateEvent(through(schema.GroupVersion{Group: "events.k8s.io", Version: "v1"}), event)); !slices.Equal(got, want) {
		t.Errorf("events.k8s.io: %q", got)
	}
}

func TestEventVersionsKeepContent(t *testing.T) {
	event := &corev1.Event{
		InvolvedObject: corev1.ObjectReference{Name: "a"}, Message: "m", Reason: "r", Action: "x", Type: "Normal", Count: 2,
		Source: corev1.EventSource{Component: "c"}, ReportingController: "k", ReportingInstance: "i",
		Series: &corev1.EventSeries{Count: 3}, FirstTimestamp: metav1.Now(), EventTime: metav1.NowMicro(),
	}
	newer := newerEvent(event)
	if back := olderEvent(&newer); back.String() != event.String() {
		t.Errorf("got %v, want %v", back, event)
	}
}

func TestLimitRange(t *testing.T) {
	l := &corev1.LimitRangeItem{
		Type: corev1.LimitTypeContainer,
		Max:  corev1.ResourceList{"cpu": resource.MustParse("1")}, Min: corev1.ResourceList{"memory": resource.MustParse("1Mi")},
	}
	defaultLimits(l)
	if l.Default.Cpu().String() != "1" || l.DefaultRequest.Cpu().String() != "1" || l.DefaultRequest.Memory().String() != "1Mi" {
		t.Errorf("%+v", l)
	}
	l.Min["cpu"] = resource.MustParse("2")
	got := said(validateLimits(&corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{*l}}}))
	if want := "spec.limits[0].min[cpu]: Invalid value min value 2 is greater than max value 1"; !slices.Contains(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestClaimUpdate(t *testing.T) {
	old := &corev1.PersistentVolumeClaim{
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v", Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{"storage": resource.MustParse("2Gi")}}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{"storage": resource.MustParse("2Gi")}},
	}
	grown := old.DeepCopy()
	grown.Spec.Resources.Requests["storage"] = resource.MustParse("3Gi")
	if errs := validateClaimUpdate(grown, old); len(errs) > 0 {
		t.Errorf("growing refused: %v", errs)
	}
	shrunk := old.DeepCopy()
	shrunk.Spec.Resources.Requests["storage"] = resource.MustParse("1Gi")
	want := []string{"spec.resources.requests.storage: Forbidden field can not be less than status.capacity"}
	if got := said(validateClaimUpdate(shrunk, old)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
