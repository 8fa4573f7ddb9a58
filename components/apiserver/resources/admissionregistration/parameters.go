package admissionregistration

import (
	"context"
	"errors"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

func validateParamRef(ref *admissionregistrationv1.ParamRef, at *field.Path) field.ErrorList {
	if ref == nil {
		return nil
	}
	var found problem.List
	if ref.Name == "" && ref.Selector == nil {
		found.Required(at, "one of name or selector must be specified")
	}
	if ref.Name != "" {
		found.Messages(at.Child("name"), ref.Name, content.IsPathSegmentName(ref.Name))
	}
	found.Add(metav1validation.ValidateLabelSelector(ref.Selector, metav1validation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	if ref.Name != "" && ref.Selector != nil {
		for _, member := range []string{"name", "selector"} {
			found.Forbidden(at.Child(member), "name and selector are mutually exclusive")
		}
	}
	if action := ref.ParameterNotFoundAction; action == nil || *action == "" {
		found.Required(at.Child("parameterNotFoundAction"), "")
	} else {
		problem.OneOf(&found, at.Child("parameterNotFoundAction"), *action, admissionregistrationv1.DenyAction, admissionregistrationv1.AllowAction)
	}
	return found.Errors
}

// paramCell names a binding's parameters in a table.
func paramCell(ref *admissionregistrationv1.ParamRef) string {
	switch {
	case ref != nil && ref.Name != "" && ref.Namespace != "":
		return ref.Namespace + "/" + ref.Name
	case ref != nil && ref.Name != "":
		// Whether the parameters are namespaced is not known here.
		return "*/" + ref.Name
	case ref != nil && ref.Selector != nil:
		return ref.Selector.String()
	}
	return "<unset>"
}

// readers checks that who points a policy at parameters may read them, as the
// policy's messages could tell what is in them.
type readers struct {
	env *resource.Env
	// policyKind resolves the kind of a binding's policy's parameters.
	policyKind func(ctx context.Context, name string) (*admissionregistrationv1.ParamKind, error)
}

// attach hands over what is needed at request time.
func (r *readers) attach(env *resource.Env, _ *genericregistry.Store) error {
	r.env = env
	return nil
}

func (r *readers) user(ctx context.Context) (who user.Info, exempt bool, err error) {
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, false, errors.New("cannot identify user")
	}
	return who, r.env == nil || r.env.Authorizer == nil || slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup), nil
}

// narrow sets the group, version and resource of a kind, as far as they are known.
func (r *readers) narrow(a *authorizer.AttributesRecord, kind *admissionregistrationv1.ParamKind) error {
	a.APIGroup, a.APIVersion, a.Resource = "*", "*", "*"
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return fmt.Errorf("unable to parse paramKind %v", kind)
	}
	a.APIGroup, a.APIVersion = gv.Group, gv.Version
	list, err := r.env.Loopback.Discovery().ServerResourcesForGroupVersion(gv.String())
	if err == nil {
		for _, known := range list.APIResources {
			if known.Kind == kind.Kind && !slices.Contains([]rune(known.Name), '/') {
				a.Resource = known.Name
				return nil
			}
		}
	}
	return fmt.Errorf("unable to resolve paramKind %v", kind)
}

// checkKind is for policies: their parameters may be any of the kind.
func (r *readers) checkKind(ctx context.Context, kind *admissionregistrationv1.ParamKind) field.ErrorList {
	if kind == nil {
		return nil
	}
	at := field.NewPath("spec", "paramKind")
	who, exempt, err := r.user(ctx)
	if err != nil {
		return field.ErrorList{field.Forbidden(at, err.Error()+" to authorize read access to paramKind resources")}
	}
	if exempt {
		return nil
	}
	a := authorizer.AttributesRecord{User: who, Verb: "get", ResourceRequest: true, Name: "*", Namespace: "*"}
	_ = r.narrow(&a, kind) // what cannot be narrowed needs all rights
	if decision, _, err := r.env.Authorizer.Authorize(ctx, a); err != nil {
		return field.ErrorList{field.Forbidden(at, err.Error())}
	} else if decision != authorizer.DecisionAllow {
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf(
			`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, who, kind.Kind, kind.APIVersion))}
	}
	return nil
}

// checkRef is for bindings, which name the parameters.
func (r *readers) checkRef(ctx context.Context, policy string, ref *admissionregistrationv1.ParamRef) field.ErrorList {
	if ref == nil {
		return nil
	}
	at := field.NewPath("spec", "paramRef")
	who, exempt, err := r.user(ctx)
	if err != nil {
		return field.ErrorList{field.Forbidden(at, err.Error()+" to authorize read access to paramRef object")}
	}
	if exempt {
		return nil
	}
	a := authorizer.AttributesRecord{
		User: who, Verb: "get", ResourceRequest: true, Name: ref.Name, Namespace: ref.Namespace,
		APIGroup: "*", APIVersion: "*", Resource: "*",
	}
	if ref.Name == "" {
		a.Verb = "list"
	}
	kind, wide := r.policyKind(ctx, policy)
	if wide != nil {
		wide = fmt.Errorf("unable to get policy %s", policy)
	} else if kind != nil {
		wide = r.narrow(&a, kind)
	}
	decision, _, err := r.env.Authorizer.Authorize(ctx, a)
	switch {
	case err != nil:
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf("failed to authorize request: %v", err))}
	case decision == authorizer.DecisionAllow:
		return nil
	case wide != nil:
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf(
			`%v to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`, wide, who, a.Verb))}
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf(`user %v does not have "%v" permission on the object referenced by paramRef`, who, a.Verb))}
}

// stored reads an object of another resource of this group.
func (r *readers) stored(ctx context.Context, resource, name string) (any, error) {
	store, err := r.env.Store(schema.GroupResource{Group: admissionregistrationv1.GroupName, Resource: resource})
	if err != nil {
		return nil, err
	}
	return store.Get(ctx, name, &metav1.GetOptions{})
}
