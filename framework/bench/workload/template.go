package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Template is a file that describes objects: YAML, which may be written with Go's
// text/template. What it is given is .Index, .Count and the operation's
// templateParams.
type Template struct {
	// File is where it stands.
	File   string
	text   []byte
	parsed *template.Template
}

var templateError = regexp.MustCompile(`^template: [^:]*:(\d+)(?::\d+)?: (.*)$`)

// newTemplate reads a template's text.
func newTemplate(file string, text []byte) (*Template, error) {
	t := &Template{File: file, text: text}
	if !bytes.Contains(text, []byte("{{")) {
		return t, nil
	}
	var err error
	t.parsed, err = template.New("object").Funcs(functions()).Parse(string(text))
	return t, t.explain(err)
}

// explain puts file and line before what text/template says.
func (t *Template) explain(err error) error {
	if err == nil {
		return nil
	}
	if parts := templateError.FindStringSubmatch(strings.TrimSpace(err.Error())); parts != nil {
		line, _ := strconv.Atoi(parts[1])
		return &Mistake{t.File, line, "", "template: " + parts[2]}
	}
	return &Mistake{t.File, 0, "", "template: " + err.Error()}
}

// Fixed reports whether every object of the template is the same.
func (t *Template) Fixed() bool { return t.parsed == nil }

// Render is the YAML of one object.
func (t *Template) Render(params map[string]any, index, count int) ([]byte, error) {
	if t.Fixed() {
		return t.text, nil
	}
	given := map[string]any{}
	maps.Copy(given, params)
	given["Index"], given["Count"] = index, count
	var out bytes.Buffer
	if err := t.parsed.Execute(&out, given); err != nil {
		return nil, t.explain(err)
	}
	// A parameter that is left out is no mistake where the template asks for it with {{if}}.
	if before, _, missing := bytes.Cut(out.Bytes(), []byte("<no value>")); missing {
		line := 1 + bytes.Count(before, []byte("\n"))
		return nil, &Mistake{t.File, line, "", "template: a parameter is missing here; given are " + strings.Join(slices.Sorted(maps.Keys(given)), ", ")}
	}
	return out.Bytes(), nil
}

// Object fills an object of the API, telling of every field that is not one of its.
func (t *Template) Object(params map[string]any, index, count int, into runtime.Object) error {
	found := &mistakes{}
	d := decoder{file: t.File, mistakes: found}
	data, err := t.Render(params, index, count)
	if err != nil {
		return err
	}
	if node := d.parse(data); node != nil {
		d.decode(node, reflect.ValueOf(into).Elem(), "")
	}
	return found.err()
}

// Unstructured is an object whose kind the template says.
func (t *Template) Unstructured(params map[string]any, index, count int) (*unstructured.Unstructured, error) {
	data, err := t.Render(params, index, count)
	if err != nil {
		return nil, err
	}
	found := &mistakes{}
	d := decoder{file: t.File, mistakes: found}
	node := d.parse(data)
	if node == nil {
		return nil, found.err()
	}
	var content map[string]any
	d.decode(node, reflect.ValueOf(&content).Elem(), "")
	for _, field := range []string{"apiVersion", "kind"} {
		if text, ok := content[field].(string); len(found.list) == 0 && (!ok || text == "") {
			d.wrong(node, field, "is missing: an object says its apiVersion and kind")
		}
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	// By way of JSON, numbers get the types that the API machinery expects.
	asJSON, err := json.Marshal(content)
	if err != nil {
		return nil, &Mistake{t.File, 0, "", err.Error()}
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(asJSON)
}

// functions are those that templates may call, upstream's names.
func functions() template.FuncMap {
	whole := func(value float64, err error) (int, error) { return int(value), err }
	add := func(values ...any) (float64, error) {
		return fold(0, values, func(sum, value float64) float64 { return sum + value })
	}
	multiply := func(values ...any) (float64, error) {
		return fold(1, values, func(product, value float64) float64 { return product * value })
	}
	subtract := func(a, b any) (float64, error) {
		return pair(a, b, func(a, b float64) (float64, error) { return a - b, nil })
	}
	divide := func(a, b any) (float64, error) {
		return pair(a, b, func(a, b float64) (float64, error) {
			if b == 0 {
				return 0, fmt.Errorf("%v is divided by zero", a)
			}
			return a / b, nil
		})
	}
	return template.FuncMap{
		"AddFloat":      add,
		"AddInt":        func(values ...any) (int, error) { return whole(add(values...)) },
		"MultiplyFloat": multiply,
		"MultiplyInt":   func(values ...any) (int, error) { return whole(multiply(values...)) },
		"SubtractFloat": subtract,
		"SubtractInt":   func(a, b any) (int, error) { return whole(subtract(a, b)) },
		"DivideFloat":   divide,
		"DivideInt":     func(a, b any) (int, error) { return whole(divide(a, b)) },
		"Mod": func(a, b any) (int, error) {
			return whole(pair(a, b, func(a, b float64) (float64, error) {
				if int(b) == 0 {
					return 0, fmt.Errorf("%v is divided by zero", a)
				}
				return float64(int(a) % int(b)), nil
			}))
		},
		"Int": func(value any) (int, error) { return whole(number(value)) },
		"JSON": func(value any) (string, error) {
			var out strings.Builder
			encoder := json.NewEncoder(&out)
			encoder.SetEscapeHTML(false)
			err := encoder.Encode(value)
			return strings.TrimSpace(out.String()), err
		},
	}
}

func fold(start float64, values []any, step func(so, value float64) float64) (float64, error) {
	for _, value := range values {
		next, err := number(value)
		if err != nil {
			return 0, err
		}
		start = step(start, next)
	}
	return start, nil
}

func pair(a, b any, combine func(a, b float64) (float64, error)) (float64, error) {
	x, err := number(a)
	if err != nil {
		return 0, err
	}
	y, err := number(b)
	if err != nil {
		return 0, err
	}
	return combine(x, y)
}

// number is a value that a file or a template calls a number.
func number(value any) (float64, error) {
	switch v := reflect.ValueOf(value); {
	case !v.IsValid():
	case v.CanInt():
		return float64(v.Int()), nil
	case v.CanUint():
		return float64(v.Uint()), nil
	case v.CanFloat():
		return v.Float(), nil
	case v.Kind() == reflect.String:
		if parsed, err := strconv.ParseFloat(v.String(), 64); err == nil && !math.IsNaN(parsed) {
			return parsed, nil
		}
	}
	return 0, fmt.Errorf("%v is not a number", value)
}
