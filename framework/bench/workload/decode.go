package workload

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder fills Go values from YAML and tells of every mistake with its line. Fields
// go by their JSON names, so it reads the types of the Kubernetes API as well.
type decoder struct {
	file     string
	mistakes *mistakes
	// template finds a file that a field of type *Template names.
	template func(path string) (*Template, error)
	// fields notes at which line each field stands, by its path.
	fields map[string]int
}

var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// parse reads a document, or tells what is wrong with its syntax.
func (d *decoder) parse(data []byte) *yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		line, problem := 0, err.Error()
		if parts := syntaxError.FindStringSubmatch(problem); parts != nil {
			line, _ = strconv.Atoi(parts[1])
			problem = parts[2]
		}
		d.mistakes.add(Mistake{d.file, line, "", "not YAML: " + problem})
		return nil
	}
	if len(document.Content) == 0 {
		d.mistakes.add(Mistake{d.file, 0, "", "is empty"})
		return nil
	}
	return document.Content[0]
}

func (d *decoder) wrong(node *yaml.Node, path, format string, values ...any) {
	d.mistakes.add(Mistake{d.file, node.Line, path, fmt.Sprintf(format, values...)})
}

// decode fills a value that can be set.
func (d *decoder) decode(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if d.fields != nil {
		d.fields[path] = node.Line
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return
	}
	if into.Type() == reflect.TypeFor[*Template]() {
		d.decodeTemplate(node, into, path)
		return
	}
	if reader, ok := into.Addr().Interface().(json.Unmarshaler); ok && into.Kind() != reflect.Pointer {
		d.decodeJSON(node, reader, path)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.decode(node, into.Elem(), path)
	case reflect.Struct:
		d.decodeStruct(node, into, path)
	case reflect.Map:
		d.decodeMap(node, into, path)
	case reflect.Slice:
		d.decodeSlice(node, into, path)
	case reflect.Interface:
		var value any
		if err := node.Decode(&value); err != nil {
			d.wrong(node, path, "%v", err)
			return
		}
		into.Set(reflect.ValueOf(value))
	default:
		d.decodeScalar(node, into, path)
	}
}

func (d *decoder) decodeTemplate(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind != yaml.ScalarNode || node.Tag != "!!str" || node.Value == "" {
		d.wrong(node, path, "must be the path of a file, not %s", kindOf(node))
		return
	}
	found, err := d.template(node.Value)
	if err != nil {
		d.wrong(node, path, "%v", err)
		return
	}
	into.Set(reflect.ValueOf(found))
}

// decodeJSON leaves a value to its type, which reads JSON.
func (d *decoder) decodeJSON(node *yaml.Node, into json.Unmarshaler, path string) {
	var value any
	err := node.Decode(&value)
	var data []byte
	if err == nil {
		data, err = json.Marshal(value)
	}
	if err == nil {
		err = into.UnmarshalJSON(data)
	}
	if err != nil {
		d.wrong(node, path, "%q: %v", node.Value, err)
	}
}

func (d *decoder) decodeStruct(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		d.wrong(node, path, "must be a mapping, not %s", kindOf(node))
		return
	}
	fields := fieldsOf(into)
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		at := join(path, key.Value)
		if seen[key.Value] {
			d.wrong(key, at, "is given twice")
			continue
		}
		seen[key.Value] = true
		field, ok := fields[key.Value]
		if !ok {
			// encoding/json, by which upstream reads, takes letters of either case.
			for name, candidate := range fields {
				if strings.EqualFold(name, key.Value) {
					field, ok = candidate, true
				}
			}
		}
		if !ok {
			d.wrong(key, at, "unknown field%s", suggestion(key.Value, fields))
			continue
		}
		d.decode(value, field, at)
	}
}

// fieldsOf are a struct's fields by their JSON names, those of inlined structs included.
func fieldsOf(value reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case field.Type.Kind() == reflect.Struct && name == "" && field.Anonymous:
			for inner, v := range fieldsOf(value.Field(i)) {
				fields[inner] = v
			}
		case field.IsExported() && name != "":
			fields[name] = value.Field(i)
		}
	}
	return fields
}

// suggestion names the field that was probably meant.
func suggestion(wrong string, fields map[string]reflect.Value) string {
	best, least := "", len(wrong)/3+1
	for name := range fields {
		if distance := distance(strings.ToLower(wrong), strings.ToLower(name)); distance <= least {
			best, least = name, distance-1
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is how many letters must be added, removed or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (d *decoder) decodeMap(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		d.wrong(node, path, "must be a mapping, not %s", kindOf(node))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := reflect.New(into.Type().Key()).Elem()
		if key.Kind() != reflect.String {
			d.wrong(node, path, "a map by %s cannot be read", key.Type())
			return
		}
		key.SetString(node.Content[i].Value)
		at := join(path, node.Content[i].Value)
		if into.MapIndex(key).IsValid() {
			d.wrong(node.Content[i], at, "is given twice")
			continue
		}
		value := reflect.New(into.Type().Elem()).Elem()
		d.decode(node.Content[i+1], value, at)
		into.SetMapIndex(key, value)
	}
}

func (d *decoder) decodeSlice(node *yaml.Node, into reflect.Value, path string) {
	if into.Type().Elem().Kind() == reflect.Uint8 {
		var data []byte
		quoted, _ := json.Marshal(node.Value)
		if err := json.Unmarshal(quoted, &data); err != nil || node.Kind != yaml.ScalarNode {
			d.wrong(node, path, "must be text in base64")
			return
		}
		into.SetBytes(data)
		return
	}
	if node.Kind != yaml.SequenceNode {
		d.wrong(node, path, "must be a list, not %s", kindOf(node))
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		d.decode(item, into.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) decodeScalar(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind != yaml.ScalarNode {
		d.wrong(node, path, "must be %s, not %s", wanted(into.Kind()), kindOf(node))
		return
	}
	fits := map[reflect.Kind]string{reflect.String: "!!str", reflect.Bool: "!!bool"}[into.Kind()]
	if fits == "" && (into.CanInt() || into.CanUint()) {
		fits = "!!int"
	}
	if fits == node.Tag || into.CanFloat() && (node.Tag == "!!int" || node.Tag == "!!float") {
		if err := node.Decode(into.Addr().Interface()); err == nil {
			return
		}
	}
	d.wrong(node, path, "must be %s, not %s %q", wanted(into.Kind()), kindOf(node), node.Value)
}

func wanted(kind reflect.Kind) string {
	switch kind {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

func kindOf(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch node.Tag {
	case "!!int", "!!float":
		return "the number"
	case "!!bool":
		return "the truth value"
	}
	return "the text"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
