package resource

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
)

// Errors of allocators. Their texts are shown to clients.
var (
	// ErrFull is returned by Next where nothing is left.
	ErrFull = errors.New("range is full")
	// ErrAddressTaken and ErrPortTaken are returned by Take for what somebody else has.
	ErrAddressTaken = errors.New("provided IP is already allocated")
	ErrPortTaken    = errors.New("provided port is already allocated")
)

// Holder is for whom something is taken.
type Holder struct {
	Service *corev1.Service
	// DryRun asks for the answer without anything being taken.
	DryRun bool
}

// Addresses hands out the cluster addresses of one IP family. What is taken stays so,
// over restarts and for every API server of the cluster, until it is released.
type Addresses interface {
	Family() corev1.IPFamily
	// Take reserves a certain address: ErrAddressTaken, or an error that says what the
	// valid range is.
	Take(ctx context.Context, ip string, holder Holder) error
	// Next reserves any: ErrFull.
	Next(ctx context.Context, holder Holder) (string, error)
	Release(ctx context.Context, ip string) error
}

// Ports hands out node ports, under the same promise.
type Ports interface {
	Take(ctx context.Context, port int32, holder Holder) error
	Next(ctx context.Context, holder Holder) (int32, error)
	Release(ctx context.Context, port int32) error
}

// ServiceRanges are what Services draw from.
type ServiceRanges struct {
	// Addresses has one or two families; the first is what a Service gets that asks
	// for none.
	Addresses []Addresses
	NodePorts Ports
}
