package scheduling

import (
	"fmt"
	"strings"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// terms are what a PodGroup and a template of one say alike of how its pods are scheduled. The last three are of features
// that are off: a new object does not have them.
type terms struct {
	policy      schedulingv1beta1.PodGroupSchedulingPolicy
	disruption  *schedulingv1beta1.DisruptionMode
	class       string
	priority    *int32
	constraints *schedulingv1beta1.PodGroupSchedulingConstraints
	claims      []schedulingv1beta1.PodGroupResourceClaim
	preemption  *schedulingv1beta1.PreemptionPolicy
}

// checker collects what is wrong with a new object, or with a change of one.
type checker struct {
	problem.List
	update bool
}

// fixed reports whether a field that never changes needs no further look: in an update it is what it was, or is refused.
func (c *checker) fixed(at *field.Path, now, was any) bool {
	if c.update && !equality.Semantic.DeepEqual(now, was) {
		c.Invalid(at, nil, "field is immutable")
	}
	return c.update
}

// terms checks them; was is empty for a new object.
func (c *checker) terms(at *field.Path, now, was terms) {
	c.policy(at.Child("schedulingPolicy"), now.policy, was.policy)
	c.fixed(at.Child("schedulingConstraints"), now.constraints, was.constraints)
	c.fixed(at.Child("resourceClaims"), now.claims, was.claims)
	if modeAt := at.Child("disruptionMode"); !c.fixed(modeAt, now.disruption, was.disruption) && now.disruption != nil {
		c.oneOf(modeAt, member{"single", now.disruption.Single != nil}, member{"all", now.disruption.All != nil})
	}
	if classAt := at.Child("priorityClassName"); !c.fixed(classAt, now.class, was.class) && now.class != "" {
		c.Messages(classAt, now.class, content.IsDNS1123Subdomain(now.class))
	}
	if priorityAt := at.Child("priority"); !c.fixed(priorityAt, now.priority, was.priority) && now.priority != nil && *now.priority > HighestUserPriority {
		c.Invalid(priorityAt, *now.priority, content.MaxError(HighestUserPriority))
	}
	c.fixed(at.Child("preemptionPolicy"), now.preemption, was.preemption)
}

// policy is chosen once; how many pods a gang needs may change.
func (c *checker) policy(at *field.Path, now, was schedulingv1beta1.PodGroupSchedulingPolicy) {
	if c.update && equality.Semantic.DeepEqual(now, was) {
		return
	}
	c.oneOf(at, member{"basic", now.Basic != nil}, member{"gang", now.Gang != nil})
	c.fixed(at.Child("basic"), now.Basic, was.Basic)
	switch gangAt := at.Child("gang"); {
	case c.update && now.Gang != nil && was.Gang == nil:
		c.Invalid(gangAt, nil, "field cannot be set once created")
	case c.update && now.Gang == nil && was.Gang != nil:
		c.Invalid(gangAt, nil, "field cannot be cleared once set")
	case now.Gang == nil:
	case now.Gang.MinCount == 0:
		c.Required(gangAt.Child("minCount"), "")
	case now.Gang.MinCount < 1:
		c.Invalid(gangAt.Child("minCount"), now.Gang.MinCount, content.MinError(1))
	}
}

// member is a field of a union.
type member struct {
	name string
	set  bool
}

// oneOf requires that a union has one member.
func (c *checker) oneOf(at *field.Path, members ...member) {
	var all, set []string
	for _, m := range members {
		all = append(all, "`"+m.name+"`")
		if m.set {
			set = append(set, m.name)
		}
	}
	switch names := strings.Join(all, ", "); len(set) {
	case 0:
		c.Invalid(at, "", "must specify one of: "+names)
	case 1:
	default:
		c.Invalid(at, fmt.Sprintf("{%s}", strings.Join(set, ", ")), "must specify exactly one of: "+names)
	}
}

// shortName and longName require a DNS label and a DNS subdomain, pathSegment what can stand in a path.
func (c *checker) shortName(at *field.Path, name string) { c.name(at, name, content.IsDNS1123Label) }

func (c *checker) longName(at *field.Path, name string) { c.name(at, name, content.IsDNS1123Subdomain) }

func (c *checker) pathSegment(at *field.Path, name string) {
	c.name(at, name, content.IsPathSegmentName)
}

func (c *checker) name(at *field.Path, name string, problems func(string) []string) {
	if name == "" {
		c.Required(at, "")
		return
	}
	c.Messages(at, name, problems(name))
}
