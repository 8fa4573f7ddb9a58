package workload

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"go.yaml.in/yaml/v3"
)

// resolution fills the parameters of one workload in.
type resolution struct {
	file   string
	params map[string]any
	used   map[string]bool
	found  *mistakes
	ok     bool
	name   string
}

// resolve makes a workload that can be run, and reports whether there was nothing
// wrong with it.
func (c *testCase) resolve(file string, w *entry, set map[string]any, found *mistakes) (*Workload, bool) {
	r := &resolution{file: file, params: maps.Clone(w.Params), used: map[string]bool{}, found: found, ok: true, name: w.Name}
	maps.Copy(r.params, set)
	resolved := &Workload{
		used:               r.used,
		Name:               c.Name + "/" + w.Name,
		Labels:             slices.Concat(c.Labels, w.Labels),
		FeatureGates:       map[string]bool{},
		DefaultPodTemplate: c.DefaultPodTemplatePath,
		Params:             r.params,
	}
	maps.Copy(resolved.FeatureGates, c.FeatureGates)
	maps.Copy(resolved.FeatureGates, w.FeatureGates)
	resolved.Threshold, _ = number(w.Threshold)
	if c.SchedulerConfigPath != nil {
		resolved.SchedulerConfig = string(c.SchedulerConfigPath.text)
	}
	if c.MetricsCollectorConfig != nil {
		resolved.Metrics = slices.Sorted(maps.Keys(c.MetricsCollectorConfig.Metrics))
	}
	for i, o := range c.operations {
		action := r.action(o)
		resolved.Operations = append(resolved.Operations, Operation{Index: i, Opcode: o.opcode, Action: action, File: file, Line: o.line})
		if r.ok {
			r.templates(o, action, c.DefaultPodTemplatePath)
		}
	}
	return resolved, r.ok
}

func (r *resolution) wrong(line int, field, format string, values ...any) {
	r.ok = false
	r.found.add(Mistake{r.file, line, field, fmt.Sprintf(format, values...)})
}

// action is an operation's, with parameters filled in and checked.
func (r *resolution) action(o operation) Action {
	filled := reflect.New(reflect.TypeOf(o.action).Elem())
	filled.Elem().Set(reflect.ValueOf(o.action).Elem())
	r.fill(o, filled.Elem(), o.path)
	action := filled.Interface().(Action)
	action.check(func(field, format string, values ...any) {
		r.wrong(o.lineOf(field), o.path+"."+field, "workload %s: %s", r.name, fmt.Sprintf(format, values...))
	})
	return action
}

// lineOf is where a field stands, or the parameter that fills it, or the operation.
func (o operation) lineOf(field string) int {
	for _, name := range []string{field, field + "Param"} {
		if line, ok := o.fields[o.path+"."+name]; ok {
			return line
		}
	}
	return o.line
}

// fill puts values in the place of the fields' parameters.
func (r *resolution) fill(o operation, into reflect.Value, path string) {
	for i := range into.NumField() {
		field := into.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := path + "." + name
		value := into.Field(i)
		wrong := func(err error) { r.wrong(o.fields[at], at, "workload %s: %v", r.name, err) }
		switch target, isParam := field.Tag.Lookup("parameter"); {
		case isParam && value.String() != "":
			given, err := r.lookUp(value.String())
			if err == nil {
				err = assign(into, target, given)
			}
			if err != nil {
				wrong(err)
			}
		case field.Type == reflect.TypeFor[map[string]any]() && value.Len() > 0:
			filled, err := r.templateParams(value.Interface().(map[string]any))
			if err != nil {
				wrong(err)
			}
			value.Set(reflect.ValueOf(filled))
		case field.Type == reflect.TypeFor[CreatePods]():
			r.fill(o, value, at)
		}
	}
}

// lookUp is the value of a parameter that is written $NAME.
func (r *resolution) lookUp(reference string) (any, error) {
	name, ok := strings.CutPrefix(reference, "$")
	if !ok {
		return nil, fmt.Errorf("%q is not a parameter: write $%s", reference, reference)
	}
	r.used[name] = true
	value, ok := r.params[name]
	if !ok {
		return nil, fmt.Errorf("the workload gives no parameter %q; it gives %s", name, strings.Join(slices.Sorted(maps.Keys(r.params)), ", "))
	}
	return value, nil
}

// assign sets the field that a parameter is for; *NAME multiplies it.
func assign(into reflect.Value, target string, value any) error {
	field, multiply := strings.CutPrefix(target, "*")
	to := into.FieldByName(field)
	switch {
	case to.Type() == reflect.TypeFor[metav1.Duration]():
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("%v is not a duration, such as 10s", value)
		}
		duration, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration, such as 10s", text)
		}
		to.Set(reflect.ValueOf(metav1.Duration{Duration: duration}))
	case to.Kind() == reflect.Bool:
		truth, ok := value.(bool)
		if !ok {
			return fmt.Errorf("%v is neither true nor false", value)
		}
		to.SetBool(truth)
	default:
		_, isText := value.(string)
		count, err := number(value)
		if err != nil || isText || count != math.Trunc(count) {
			return fmt.Errorf("%v is not a whole number", value)
		}
		if to.Kind() == reflect.Pointer {
			to.Set(reflect.New(to.Type().Elem()))
			to = to.Elem()
		} else if multiply {
			count *= float64(to.Int())
		}
		to.SetInt(int64(count))
	}
	return nil
}

// templateParams puts values in the place of $NAME, or of $NAME|DEFAULT.
func (r *resolution) templateParams(params map[string]any) (map[string]any, error) {
	filled := maps.Clone(params)
	var errs []error
	for key, value := range params {
		text, ok := value.(string)
		if !ok || !strings.HasPrefix(text, "$") {
			continue
		}
		name, usual, hasUsual := strings.Cut(text, "|")
		if _, given := r.params[name[1:]]; !given && hasUsual {
			var parsed any
			if err := yaml.Unmarshal([]byte(usual), &parsed); err != nil {
				errs = append(errs, fmt.Errorf("%s: the default %q is not YAML: %w", key, usual, err))
			}
			filled[key] = parsed
			continue
		}
		given, err := r.lookUp(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
		filled[key] = given
	}
	return filled, errors.Join(errs...)
}

// templates tries each template of an operation, so that what does not parse is told
// before anything is run.
func (r *resolution) templates(o operation, action Action, usualPod *Template) {
	try := func(t *Template, params map[string]any, count int, into runtime.Object) {
		if t == nil {
			return
		}
		var err error
		if into == nil {
			_, err = t.Unstructured(params, 0, count)
		} else {
			err = t.Object(params, 0, count, into)
		}
		if err != nil {
			r.failed(o, err)
		}
	}
	pods := func(a *CreatePods) {
		pod := a.PodTemplatePath
		if pod == nil {
			pod = usualPod
		}
		try(pod, a.TemplateParams, a.Count, &corev1.Pod{})
		try(a.PersistentVolumeTemplatePath, nil, 1, &corev1.PersistentVolume{})
		try(a.PersistentVolumeClaimTemplatePath, nil, 1, &corev1.PersistentVolumeClaim{})
	}
	switch a := action.(type) {
	case *CreateNodes:
		try(a.NodeTemplatePath, a.TemplateParams, a.Count, &corev1.Node{})
	case *CreateNamespaces:
		try(a.NamespaceTemplatePath, nil, 1, &corev1.Namespace{})
	case *CreatePods:
		pods(a)
	case *CreatePodSets:
		pods(&a.CreatePods)
	case *CreatePodGroups:
		try(a.TemplatePath, a.TemplateParams, a.Count, nil)
	case *CreateResourceClaims:
		try(a.TemplatePath, nil, a.Count, nil)
	case *CreateAny:
		try(a.TemplatePath, a.TemplateParams, countOf(a.Count), nil)
	case *UpdateAny:
		try(a.TemplatePath, nil, countOf(a.Count), nil)
	case *Churn:
		for _, t := range a.TemplatePaths {
			try(t, nil, 1, nil)
		}
	}
}

// failed notes what is wrong with a template at its own line, or else at the operation's.
func (r *resolution) failed(o operation, err error) {
	r.ok = false
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, each := range all {
		var mistake *Mistake
		if errors.As(each, &mistake) {
			r.found.add(*mistake)
			continue
		}
		r.wrong(o.line, o.path, "%v", each)
	}
}

func countOf(count *int) int {
	if count == nil {
		return 1
	}
	return *count
}
