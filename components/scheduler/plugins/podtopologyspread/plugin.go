// Package podtopologyspread is the PodTopologySpread plugin: pods of one kind spread evenly over the domains that a node
// label spans.
// https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
package podtopologyspread

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Name of the plugin.
const Name = "PodTopologySpread"

// PodTopologySpread filters and scores by topology spread constraints.
type PodTopologySpread struct {
	// defaults apply to pods without constraints of their own; builtin says that no profile chose them.
	defaults     []v1.TopologySpreadConstraint
	builtin      bool
	parallelizer fwk.Parallelizer
	snapshot     fwk.SharedLister
	owners       *owners
	counts       countMemo
}

// owners are the objects from which a pod's kind is read where the constraint is a default one.
type owners struct {
	services     corelisters.ServiceLister
	controllers  corelisters.ReplicationControllerLister
	replicaSets  appslisters.ReplicaSetLister
	statefulSets appslisters.StatefulSetLister
}

var (
	_ fwk.PreFilterPlugin   = &PodTopologySpread{}
	_ fwk.FilterPlugin      = &PodTopologySpread{}
	_ fwk.PreScorePlugin    = &PodTopologySpread{}
	_ fwk.ScorePlugin       = &PodTopologySpread{}
	_ fwk.EnqueueExtensions = &PodTopologySpread{}
)

// New makes the plugin from *PodTopologySpreadArgs.
func New(_ context.Context, obj runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	args, ok := obj.(*configv1.PodTopologySpreadArgs)
	if !ok {
		return nil, fmt.Errorf("want args to be of type PodTopologySpreadArgs, got %T", obj)
	}
	if err := Validate(nil, args); err != nil {
		return nil, err
	}
	p := &PodTopologySpread{
		defaults:     args.DefaultConstraints,
		parallelizer: handle.Parallelizer(),
		snapshot:     handle.SnapshotSharedLister(),
		counts:       newCountMemo(),
	}
	if args.DefaultingType == configv1.SystemDefaulting {
		p.builtin = true
		p.defaults = []v1.TopologySpreadConstraint{
			{TopologyKey: v1.LabelHostname, WhenUnsatisfiable: v1.ScheduleAnyway, MaxSkew: 3},
			{TopologyKey: v1.LabelTopologyZone, WhenUnsatisfiable: v1.ScheduleAnyway, MaxSkew: 5},
		}
	}
	if len(p.defaults) > 0 {
		core, apps := handle.SharedInformerFactory().Core().V1(), handle.SharedInformerFactory().Apps().V1()
		p.owners = &owners{
			services:     core.Services().Lister(),
			controllers:  core.ReplicationControllers().Lister(),
			replicaSets:  apps.ReplicaSets().Lister(),
			statefulSets: apps.StatefulSets().Lister(),
		}
	}
	return p, nil
}

// Name returns the plugin's name.
func (*PodTopologySpread) Name() string { return Name }

// Validate checks the arguments.
func Validate(path *field.Path, args *configv1.PodTopologySpreadArgs) error {
	var errs field.ErrorList
	at := path.Child("defaultingType")
	switch {
	case args.DefaultingType != configv1.SystemDefaulting && args.DefaultingType != configv1.ListDefaulting:
		errs = append(errs, field.NotSupported(at, args.DefaultingType, []configv1.PodTopologySpreadConstraintsDefaulting{configv1.SystemDefaulting, configv1.ListDefaulting}))
	case args.DefaultingType == configv1.SystemDefaulting && len(args.DefaultConstraints) > 0:
		errs = append(errs, field.Invalid(at, args.DefaultingType, "when .defaultConstraints are not empty"))
	}
	list := path.Child("defaultConstraints")
	type identity struct{ key, action string }
	seen := map[identity]bool{}
	for i := range args.DefaultConstraints {
		c := &args.DefaultConstraints[i]
		errs = append(errs, validateConstraint(list.Index(i), c)...)
		id := identity{c.TopologyKey, string(c.WhenUnsatisfiable)}
		if seen[id] {
			errs = append(errs, field.Duplicate(list.Index(i), fmt.Sprintf("{%v, %v}", id.key, id.action)))
		}
		seen[id] = true
	}
	return errs.ToAggregate()
}

func validateConstraint(path *field.Path, c *v1.TopologySpreadConstraint) field.ErrorList {
	var errs field.ErrorList
	if c.MaxSkew <= 0 {
		errs = append(errs, field.Invalid(path.Child("maxSkew"), c.MaxSkew, "not in valid range (0, inf)"))
	}
	if c.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	} else {
		errs = append(errs, metav1validation.ValidateLabelName(c.TopologyKey, path.Child("topologyKey"))...)
	}
	switch c.WhenUnsatisfiable {
	case v1.DoNotSchedule, v1.ScheduleAnyway:
	case "":
		errs = append(errs, field.Required(path.Child("whenUnsatisfiable"), "can not be empty"))
	default:
		errs = append(errs, field.NotSupported(path.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, []v1.UnsatisfiableConstraintAction{v1.DoNotSchedule, v1.ScheduleAnyway}))
	}
	if c.LabelSelector != nil {
		errs = append(errs, field.Forbidden(path.Child("labelSelector"), "constraint must not define a selector, as they deduced for each pod"))
	}
	return errs
}
