// Package resource is the declarative description of an API resource: what one
// file under resources/ says of a resource, and the engine that turns it into a
// registry store.
//
// The Go type of k8s.io/api is the hub. It is registered under its version and
// under __internal, so decoding, defaulting, validation and storage work on one
// type without conversion.
package resource

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/component-base/featuregate"
)

// Object is an API object that has metadata.
type Object interface {
	runtime.Object
	metav1.Object
}

// Entry is what the engine installs: a Definition (a stored resource) or a
// Virtual (one that is computed, such as TokenReview).
type Entry interface {
	// ID names the resource; it is the same at every call.
	ID() Identity
	// Register adds the resource's types, defaults and conversions to a scheme.
	Register(*runtime.Scheme) error
	// Storage makes what serves the resource: its endpoints by path, "pods",
	// "pods/status", "pods/log".
	Storage(*Env) (map[string]rest.Storage, error)
}

// Identity is how a resource is named and found.
type Identity struct {
	// GroupVersion is the version of the hub type, and the first that is served.
	GroupVersion schema.GroupVersion
	// StoredAs is the version that objects are stored under, where upstream still stores
	// an older one than it serves. Its type must hold all that the hub's does.
	StoredAs schema.GroupVersion
	// Kind is the object's kind, "Deployment".
	Kind string
	// Name is the plural in the URL, "deployments".
	Name string
	// Singular is the name kubectl accepts beside the plural, "deployment".
	Singular string
	// ShortNames are further names kubectl accepts, "deploy".
	ShortNames []string
	// Categories are the groups of resources this one answers to, "all".
	Categories []string
	// ClusterScoped is true where objects live outside namespaces.
	ClusterScoped bool
	// ServedAs are further versions (or groups) that the same objects are served
	// under. Each needs its types and conversions in the scheme: see AddToScheme.
	ServedAs []schema.GroupVersion
	// OnRequest are those of its versions that are off by default: they are served where
	// --runtime-config asks for them.
	OnRequest []schema.GroupVersion
	// Feature is the gate without which there is no such resource, whatever --runtime-config
	// says. Empty: there always is.
	Feature featuregate.Feature
}

// Definition describes one stored resource, end to end. T is the hub type, a
// pointer such as *appsv1.Deployment. A nil function means that there is nothing
// to do at that point. The order on create is: decode, Default, mutating
// admission, PrepareForCreate, Validate, Canonicalize, validating admission, store.
type Definition[T Object] struct {
	Identity

	// New and NewList make an empty object and an empty list.
	New     func() T
	NewList func() runtime.Object
	// AddToScheme registers what else the resource needs: types of ServedAs
	// versions and conversions to and from the hub. Most resources need none.
	AddToScheme func(*runtime.Scheme) error
	// StorageKey is the directory below /registry where upstream keeps the
	// objects, where it is not Name: "services/specs", "minions".
	StorageKey string

	// Default completes an object as it is decoded. Pure and idempotent.
	Default func(T)

	// NameValidator says what is wrong with a name (or, with prefix, with a
	// generateName). Nil means a DNS subdomain.
	NameValidator func(name string, prefix bool) []string

	// PrepareForCreate clears what clients may not set. The engine has already
	// zeroed the status (unless KeepStatusOnCreate) and set generation 1.
	PrepareForCreate func(ctx context.Context, obj T)
	// PrepareForUpdate likewise. The engine has already restored the status from
	// old, and raises the generation afterwards if Spec changed.
	PrepareForUpdate func(ctx context.Context, obj, old T)
	// Validate checks a new object. The engine has already checked metadata.
	Validate func(ctx context.Context, obj T) field.ErrorList
	// ValidateUpdate checks a change, alone: it calls what it needs of Validate
	// itself. The engine has already checked metadata.
	ValidateUpdate func(ctx context.Context, obj, old T) field.ErrorList
	// Warnings are sent to the client. old is nil (the zero T) on create.
	Warnings func(ctx context.Context, obj, old T) []string
	// Canonicalize brings a valid object into the form that is stored.
	Canonicalize func(T)
	// AllowCreateOnUpdate lets a PUT create the object (Lease, Event, ...).
	AllowCreateOnUpdate bool
	// RequireVersionOnUpdate refuses a PUT without a resourceVersion.
	RequireVersionOnUpdate bool

	// Spec points to the object's spec. With TracksGeneration a change of it
	// raises metadata.generation; on the status endpoint it is kept from old.
	Spec             func(T) any
	TracksGeneration bool
	// FixedSpec keeps the spec as it was created, whatever an update says.
	FixedSpec bool
	// Status points to the object's status. Non-nil means that the main endpoint
	// ignores it and that there is a status endpoint which changes only it.
	Status             func(T) any
	KeepStatusOnCreate bool
	// PrepareForStatusUpdate runs after Spec is restored from old; here a resource
	// restores labels or owner references where upstream does.
	PrepareForStatusUpdate func(ctx context.Context, obj, old T)
	// StatusResets are the parts of the metadata that the status endpoint leaves as
	// they are; the engine restores them and tells server-side apply so.
	StatusResets []MetadataField
	// StatusKept are parts of the status ("status.conditions") that the status endpoint keeps
	// from server-side apply; restoring them is PrepareForStatusUpdate's.
	StatusKept []string
	// ValidateStatusUpdate checks a change made at the status endpoint.
	ValidateStatusUpdate func(ctx context.Context, obj, old T) field.ErrorList

	// CheckGracefulDelete says whether deletion waits for somebody (kubelet) to
	// finish it, and then sets options.GracePeriodSeconds. Nil: deletion is at once.
	CheckGracefulDelete func(ctx context.Context, obj T, options *metav1.DeleteOptions) bool
	// DefaultGarbageCollection is what happens to dependents when a delete names no
	// propagation policy. Empty means rest.DeleteDependents (background).
	DefaultGarbageCollection rest.GarbageCollectionPolicy
	// ReturnDeletedObject answers a delete with the object instead of a Status.
	ReturnDeletedObject bool
	// TTL is how long an object is kept, in seconds; 0 for ever. (Events.)
	TTL func(obj T) uint64

	// Fields are the field selectors besides metadata.name and metadata.namespace. The
	// keys it returns for an empty object are the labels that clients may select by;
	// every other label is refused.
	Fields func(T) fields.Set
	// IndexFields names those of Fields that the watch cache indexes ("spec.nodeName").
	IndexFields []string

	// Columns and Cells are upstream's printer columns: Cells has one value a column.
	// Nil means Name and Created At... of the default table.
	Columns []metav1.TableColumnDefinition
	Cells   func(T) []any
	// RowConditions marks rows, "Completed" for finished pods.
	RowConditions func(T) []metav1.TableRowCondition

	// Off are the features whose fields are dropped unless their gate is on, as upstream
	// drops those of feature gates that are off by default.
	Off []Feature
	off offFeatures

	// Scale gives the resource a scale endpoint.
	Scale *Scale[T]
	// Subresources are the other endpoints below an object.
	Subresources []Subresource
	// Attach adds hooks (BeginCreate, AfterDelete, Decorator, ...) to the finished store.
	// It is for resources that hold something outside their own object: Service
	// (addresses and ports), Namespace (finalizers).
	Attach func(env *Env, store *genericregistry.Store) error
	// Main makes what serves the main endpoint, where that is not just the store:
	// Namespace, whose deletion goes in two steps.
	Main func(env *Env, stored *Stored) rest.Storage
}

// Scale points at the fields that a scale endpoint reads and writes.
type Scale[T Object] struct {
	// Replicas is the wanted count in the spec.
	Replicas func(T) *int32
	// Current is the count in the status.
	Current func(T) int32
	// Selector is the pods' selector in its serialised form.
	Selector func(T) (string, error)
}

// Subresource is one endpoint below an object.
type Subresource struct {
	// Name is the path's last part, "binding".
	Name string
	// Storage makes what serves it. store is the resource's own finished store.
	Storage func(env *Env, store *genericregistry.Store) (rest.Storage, error)
}

// Virtual describes a resource that is computed and never stored.
type Virtual struct {
	Identity
	// AddToScheme registers what else the resource needs.
	AddToScheme func(*runtime.Scheme) error
	// New makes an empty object.
	New func() runtime.Object
	// Default completes an object as it is decoded.
	Default func(runtime.Object)
	// Serve makes what answers.
	Serve func(env *Env) (rest.Storage, error)
}
