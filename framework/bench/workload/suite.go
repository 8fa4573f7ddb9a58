// Package workload reads descriptions of what a scheduler is measured with, in the
// language of Kubernetes' scheduler_perf: test cases that are lists of operations,
// and workloads that give their parameters values. Upstream's own files can be read:
//
//	suite, err := workload.Read(os.DirFS("test/integration/scheduler_perf"), "misc/performance-config.yaml")
//	w, err := suite.Workload("SchedulingBasic/500Nodes", nil)
//
// Each mistake is told with file, line and field.
package workload

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Suite is what a file of test cases holds.
type Suite struct {
	// File is where it stands.
	File  string
	cases []*testCase
}

// Workload is one of a suite's, ready to be run.
type Workload struct {
	// Name is CASE/WORKLOAD.
	Name string
	// Labels are the test case's and its own.
	Labels []string
	// FeatureGates are those that it needs.
	FeatureGates map[string]bool
	// SchedulerConfig is the content of a scheduler's configuration file, or empty.
	SchedulerConfig string
	// DefaultPodTemplate is for CreatePods without a template; it may be nil.
	DefaultPodTemplate *Template
	// Params are the values that its parameters have.
	Params map[string]any
	// Threshold is the least throughput that upstream expects of it on its own
	// machines, in pods a second, or 0.
	Threshold float64
	// Metrics are further metrics of the scheduler's that it asks for.
	Metrics []string
	// Operations are in order.
	Operations []Operation

	used map[string]bool
}

// testCase is an entry of a file.
type testCase struct {
	Name                           string           `json:"name"`
	FeatureGates                   map[string]bool  `json:"featureGates"`
	MetricsCollectorConfig         *collectorConfig `json:"metricsCollectorConfig"`
	Workloads                      []entry          `json:"workloads"`
	SchedulerConfigPath            *Template        `json:"schedulerConfigPath"`
	DefaultPodTemplatePath         *Template        `json:"defaultPodTemplatePath"`
	Labels                         []string         `json:"labels"`
	DefaultThresholdMetricSelector *metricSelector  `json:"defaultThresholdMetricSelector"`

	operations []operation
}

type entry struct {
	Name                    string          `json:"name"`
	Params                  map[string]any  `json:"params"`
	Labels                  []string        `json:"labels"`
	Threshold               any             `json:"threshold"`
	ThresholdMetricSelector *metricSelector `json:"thresholdMetricSelector"`
	FeatureGates            map[string]bool `json:"featureGates"`

	path string
	line int
}

type collectorConfig struct {
	Metrics map[string][]labelValues `json:"metrics"`
}

type labelValues struct {
	Label  string   `json:"label"`
	Values []string `json:"values"`
}

type metricSelector struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	DataBucket  string            `json:"dataBucket"`
	ExpectLower bool              `json:"expectLower"`
}

// operation is a step as the file has it, parameters by name.
type operation struct {
	opcode string
	action Action // nil where it is not supported
	path   string
	line   int
	fields map[string]int
}

// Read reads a file and everything that it names, and tells all that is wrong.
func Read(files fs.FS, file string) (*Suite, error) {
	data, err := fs.ReadFile(files, file)
	if err != nil {
		return nil, err
	}
	found := &mistakes{}
	templates := map[string]*Template{}
	d := &decoder{file: file, mistakes: found, template: func(name string) (*Template, error) {
		// A mistake in a template is told once, at its own line.
		at := path.Join(path.Dir(file), name)
		if templates[at] == nil {
			text, err := fs.ReadFile(files, at)
			if err != nil {
				return nil, err
			}
			t, err := newTemplate(at, text)
			var mistake *Mistake
			if errors.As(err, &mistake) {
				found.add(*mistake)
			}
			templates[at] = t
		}
		return templates[at], nil
	}}
	root := d.parse(data)
	if root == nil {
		return nil, found.err()
	}
	suite := &Suite{File: file}
	if root.Kind != yaml.SequenceNode {
		d.wrong(root, "", "must be a list of test cases, not %s", kindOf(root))
		return nil, found.err()
	}
	for i, node := range root.Content {
		suite.cases = append(suite.cases, d.readCase(node, fmt.Sprintf("[%d]", i)))
	}
	suite.checkNames(d, root)
	if err := found.err(); err != nil {
		return nil, err
	}
	for _, c := range suite.cases {
		for i := range c.Workloads {
			if c.supported() == nil {
				_, _ = c.resolve(suite.File, &c.Workloads[i], nil, found)
			}
		}
	}
	return suite, found.err()
}

// readCase reads a test case: its operations apart, since each has a type of its own.
func (d *decoder) readCase(node *yaml.Node, at string) *testCase {
	c := &testCase{}
	rest := *node
	rest.Content = nil
	var operations *yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "workloadTemplate" {
			operations = node.Content[i+1]
			continue
		}
		rest.Content = append(rest.Content, node.Content[i], node.Content[i+1])
	}
	d.fields = map[string]int{}
	d.decode(&rest, reflect.ValueOf(c).Elem(), at)
	for i := range c.Workloads {
		w := &c.Workloads[i]
		w.path = fmt.Sprintf("%s.workloads[%d]", at, i)
		w.line = d.fields[w.path]
		d.checkThreshold(w)
		if w.Name == "" {
			d.mistakes.add(Mistake{d.file, w.line, w.path + ".name", "is missing"})
		}
	}
	d.fields = nil
	if c.Name == "" && node.Kind == yaml.MappingNode {
		d.wrong(node, at+".name", "is missing")
	}
	at += ".workloadTemplate"
	if operations == nil || operations.Kind != yaml.SequenceNode || len(operations.Content) == 0 {
		d.wrong(node, at, "must be a list of operations")
		return c
	}
	for i, item := range operations.Content {
		c.operations = append(c.operations, d.readOperation(item, fmt.Sprintf("%s[%d]", at, i)))
	}
	return c
}

func (d *decoder) checkThreshold(w *entry) {
	line := d.fields[w.path+".threshold"]
	check := func(value any, at string) {
		if number, err := number(value); err != nil || number < 0 {
			d.mistakes.add(Mistake{d.file, line, at, fmt.Sprintf("%v is not a number that is at least 0", value)})
		}
	}
	switch value := w.Threshold.(type) {
	case nil:
	case map[string]any:
		for topic, of := range value {
			check(of, w.path+".threshold."+topic)
		}
	default:
		check(value, w.path+".threshold")
	}
}

func (d *decoder) readOperation(node *yaml.Node, at string) operation {
	o := operation{path: at, line: node.Line, fields: map[string]int{}}
	if node.Kind != yaml.MappingNode {
		d.wrong(node, at, "must be a mapping, not %s", kindOf(node))
		return o
	}
	code := node
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "opcode" {
			code = node.Content[i+1]
			o.opcode = code.Value
		}
	}
	if o.opcode == "" {
		d.wrong(code, at+".opcode", "is missing: an operation says what it does")
		return o
	}
	known := actions()
	make, ok := known[o.opcode]
	if !ok {
		if _, ok := unsupported()[o.opcode]; !ok {
			d.wrong(code, at+".opcode", "unknown operation %q; there are %s", o.opcode, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		return o
	}
	o.action = make()
	d.fields = o.fields
	d.decode(node, reflect.ValueOf(o.action).Elem(), at)
	d.fields = nil
	return o
}

// checkNames tells of test cases and workloads that cannot be told apart.
func (s *Suite) checkNames(d *decoder, root *yaml.Node) {
	cases := map[string]bool{}
	for i, c := range s.cases {
		if c.Name != "" && cases[c.Name] {
			d.wrong(root.Content[i], fmt.Sprintf("[%d].name", i), "another test case is named %q too", c.Name)
		}
		cases[c.Name] = true
		if len(c.Workloads) == 0 {
			d.wrong(root.Content[i], fmt.Sprintf("[%d].workloads", i), "must be a list of at least one workload")
		}
		workloads := map[string]bool{}
		for _, w := range c.Workloads {
			if w.Name != "" && workloads[w.Name] {
				d.mistakes.add(Mistake{d.file, w.line, w.path + ".name", fmt.Sprintf("another workload of %s is named %q too", c.Name, w.Name)})
			}
			workloads[w.Name] = true
		}
	}
}

// Names are those of all workloads, CASE/WORKLOAD, in the file's order.
func (s *Suite) Names() []string {
	var names []string
	for _, c := range s.cases {
		for _, w := range c.Workloads {
			names = append(names, c.Name+"/"+w.Name)
		}
	}
	return names
}

// ErrUnknown is the error of a name that no workload has.
var ErrUnknown = errors.New("no such workload")

// Workload is a workload by its name, with some parameters set otherwise than the
// file does.
func (s *Suite) Workload(name string, set map[string]any) (*Workload, error) {
	for _, c := range s.cases {
		for i := range c.Workloads {
			w := &c.Workloads[i]
			if c.Name+"/"+w.Name != name {
				continue
			}
			if err := c.supported(); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			for param := range set {
				if _, ok := w.Params[param]; !ok {
					return nil, fmt.Errorf("%s has no parameter %q; it has %s", name, param, strings.Join(slices.Sorted(maps.Keys(w.Params)), ", "))
				}
			}
			found := &mistakes{}
			resolved, ok := c.resolve(s.File, w, set, found)
			for _, param := range slices.Sorted(maps.Keys(resolved.Params)) {
				// What a suite does not use may be for code that goes with its file.
				if !resolved.used[param] {
					ok = false
					found.add(Mistake{s.File, w.line, w.path + ".params." + param, "no operation uses it"})
				}
			}
			if !ok {
				return nil, found.err()
			}
			return resolved, nil
		}
	}
	return nil, fmt.Errorf("%s: %w: %q", s.File, ErrUnknown, name)
}

// supported tells which operation of a test case cannot be done.
func (c *testCase) supported() error {
	for _, o := range c.operations {
		if why, ok := unsupported()[o.opcode]; ok {
			return fmt.Errorf("operation %s is not supported: %s", o.opcode, why)
		}
	}
	return nil
}
