package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// purpose is what a probe's answer is used for.
type purpose int

const (
	liveness purpose = iota
	readiness
	startup
)

func (c *checker) probe(at *field.Path, p *corev1.Probe, why purpose) {
	if p == nil {
		return
	}
	c.handler(at, corev1.LifecycleHandler{Exec: p.Exec, HTTPGet: p.HTTPGet, TCPSocket: p.TCPSocket}, p.GRPC)
	for _, number := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.InitialDelaySeconds}, {"timeoutSeconds", p.TimeoutSeconds}, {"periodSeconds", p.PeriodSeconds},
		{"successThreshold", p.SuccessThreshold}, {"failureThreshold", p.FailureThreshold},
	} {
		c.NotNegative(at.Child(number.name), int64(number.value))
	}
	if g := p.TerminationGracePeriodSeconds; g != nil {
		if *g <= 0 {
			c.Invalid(at.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
		}
		if why == readiness {
			c.Invalid(at.Child("terminationGracePeriodSeconds"), g, "must not be set for readinessProbes")
		}
	}
	if why != readiness && p.SuccessThreshold != 1 {
		c.Invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1")
	}
}

func (c *checker) lifecycle(m member) {
	at := m.at.Child("lifecycle")
	if h := m.Lifecycle.PostStart; h != nil {
		c.handler(at.Child("postStart"), *h, nil)
	}
	if h := m.Lifecycle.PreStop; h != nil {
		c.handler(at.Child("preStop"), *h, nil)
	}
}

// handler checks what a probe or hook does. gRPC is a probe's only, sleep a hook's only.
func (c *checker) handler(at *field.Path, h corev1.LifecycleHandler, grpc *corev1.GRPCAction) {
	one := problem.Choice{Problems: &c.List, What: "handler"}
	if execAt := at.Child("exec"); one.Offer(h.Exec != nil, execAt) && len(h.Exec.Command) == 0 {
		c.Required(execAt.Child("command"), "")
	}
	if getAt := at.Child("httpGet"); one.Offer(h.HTTPGet != nil, getAt) {
		c.NonEmpty(getAt.Child("path"), h.HTTPGet.Path)
		c.Add(ValidatePort(h.HTTPGet.Port, getAt.Child("port"))...)
		problem.OneOf(&c.List, getAt.Child("scheme"), h.HTTPGet.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
		for _, header := range h.HTTPGet.HTTPHeaders {
			c.Messages(getAt.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))
		}
	}
	if tcpAt := at.Child("tcpSocket"); one.Offer(h.TCPSocket != nil, tcpAt) {
		c.Add(ValidatePort(h.TCPSocket.Port, tcpAt.Child("port"))...)
	}
	if grpcAt := at.Child("grpc"); one.Offer(grpc != nil, grpcAt) {
		c.Add(ValidatePort(intstr.FromInt32(grpc.Port), grpcAt.Child("port"))...)
	}
	if sleepAt := at.Child("sleep"); one.Offer(h.Sleep != nil, sleepAt) {
		if g := c.spec.TerminationGracePeriodSeconds; g != nil {
			c.Within(sleepAt, h.Sleep.Seconds, 0, *g, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *g))
		}
	}
	if one.None() {
		c.Required(at, "must specify a handler type")
	}
}

// ValidatePort checks a port given by number or by name.
func ValidatePort(p intstr.IntOrString, at *field.Path) field.ErrorList {
	var found problem.List
	if p.Type == intstr.String {
		found.Messages(at, p.StrVal, validation.IsValidPortName(p.StrVal))
	} else {
		found.Messages(at, p.IntValue(), validation.IsValidPortNum(p.IntValue()))
	}
	return found.Errors
}
