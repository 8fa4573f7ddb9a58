package admissionregistration

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

const mostConditions = 64

// expressions compiles the CEL of one object. What is stored already is compiled
// with everything that any version has allowed; what is new, with what may be used now.
type expressions struct {
	// composed is the compiler once there are variables, which later expressions see.
	composed *plugincel.CompositedCompiler
	stored   sets.Set[string]
	params   bool
}

func (e *expressions) environment() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

// compose lets expressions refer to variables.
func (e *expressions) compose() error {
	composed, err := plugincel.NewCompositedCompiler(e.environment())
	e.composed = composed
	return err
}

func (e *expressions) mode(text string) environment.Type {
	if e.stored.Has(text) {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// scope says what an expression can see.
func (e *expressions) scope() plugincel.OptionalVariableDeclarations {
	return plugincel.OptionalVariableDeclarations{HasParams: e.params, HasAuthorizer: true}
}

// check compiles an expression; text is what is looked up among the stored ones.
func (e *expressions) check(x plugincel.ExpressionAccessor, text string, scope plugincel.OptionalVariableDeclarations, at *field.Path) field.ErrorList {
	if e.composed != nil {
		return compiled(e.composed.CompileCELExpression(x, scope, e.mode(text)), at)
	}
	return e.checkAlone(x, text, scope, at)
}

// checkAlone compiles an expression that sees no variables.
func (e *expressions) checkAlone(x plugincel.ExpressionAccessor, text string, scope plugincel.OptionalVariableDeclarations, at *field.Path) field.ErrorList {
	return compiled(plugincel.NewCompiler(e.environment()).CompileCELExpression(x, scope, e.mode(text)), at)
}

func compiled(result plugincel.CompilationResult, at *field.Path) field.ErrorList {
	if result.Error == nil {
		return nil
	}
	switch result.Error.Type {
	case cel.ErrorTypeRequired:
		return field.ErrorList{field.Required(at, result.Error.Detail)}
	case cel.ErrorTypeInvalid:
		return field.ErrorList{field.Invalid(at, result.ExpressionAccessor.GetExpression(), result.Error.Detail)}
	}
	return field.ErrorList{field.InternalError(at, result.Error)}
}

func (e *expressions) conditions(list []admissionregistrationv1.MatchCondition, path *field.Path) field.ErrorList {
	var found problem.List
	if len(list) > mostConditions {
		found.Add(field.TooMany(path, len(list), mostConditions))
	}
	names := sets.New[string]()
	for i, c := range list {
		at := path.Index(i)
		if text := strings.TrimSpace(c.Expression); text == "" {
			found.Required(at.Child("expression"), "")
		} else {
			found.Add(e.checkAlone(&matchconditions.MatchCondition{Expression: text}, text, e.scope(), at.Child("expression"))...)
		}
		if c.Name == "" {
			found.Required(at.Child("name"), "")
			continue
		}
		found.Messages(at.Child("name"), c.Name, validation.IsQualifiedName(c.Name))
		if names.Has(c.Name) {
			found.Duplicate(at.Child("name"), c.Name)
		}
		names.Insert(c.Name)
	}
	return found.Errors
}

func (e *expressions) variables(list []admissionregistrationv1.Variable, path *field.Path) field.ErrorList {
	var found problem.List
	for i, v := range list {
		at := path.Index(i)
		if strings.TrimSpace(v.Name) == "" {
			found.Required(at.Child("name"), "name is not specified")
		} else if !isIdentifier(v.Name) {
			found.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier")
		}
		if strings.TrimSpace(v.Expression) == "" {
			found.Required(at.Child("expression"), "expression is not specified")
			continue
		}
		if e.composed == nil {
			found.Add(field.InternalError(at, errors.New("variable composition is not allowed")))
			continue
		}
		variable := &validating.Variable{Name: v.Name, Expression: v.Expression}
		found.Add(compiled(e.composed.CompileAndStoreVariable(variable, e.scope(), e.mode(v.Expression)), at.Child("expression"))...)
	}
	return found.Errors
}

// isIdentifier follows the CEL grammar: a name that is no reserved word.
// See https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax.
func isIdentifier(name string) bool {
	reserved := strings.Fields("true false null in as break const continue else for function if import let loop package namespace return var void while")
	return regexp.MustCompile(`^[_a-zA-Z]\w*$`).MatchString(name) && !slices.Contains(reserved, name)
}

func validateParamKind(kind *admissionregistrationv1.ParamKind, at *field.Path) field.ErrorList {
	var found problem.List
	version := at.Child("apiVersion")
	switch parts := strings.Split(kind.APIVersion, "/"); {
	case kind.APIVersion == "":
		found.Required(version, "")
	case len(parts) > 2:
		found.Invalid(version, kind.APIVersion, fmt.Sprintf("unexpected GroupVersion string: %v", kind.APIVersion))
	default:
		own := parts[len(parts)-1]
		if len(parts) == 2 && parts[0] != "" {
			if problems := validation.IsDNS1123Subdomain(parts[0]); len(problems) > 0 {
				found.Invalid(version, parts[0], strings.Join(problems, ","))
			}
		}
		if own == "" {
			found.Invalid(version, kind.APIVersion, "version must be specified")
		} else if problems := validation.IsDNS1035Label(own); len(problems) > 0 {
			found.Invalid(version, own, strings.Join(problems, ","))
		}
	}
	if kind.Kind == "" {
		found.Required(at.Child("kind"), "")
	} else if problems := validation.IsDNS1035Label(strings.ToLower(kind.Kind)); len(problems) > 0 {
		found.Invalid(at.Child("kind"), kind.Kind, "may have mixed case, but should otherwise match: "+strings.Join(problems, ","))
	}
	return found.Errors
}
