package workload

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const podText = `apiVersion: v1
kind: Pod
metadata: {generateName: "p{{.Index}}-"}
spec:
  priority: {{AddInt .Index (MultiplyInt 2 .weight)}}
  containers:
  - {name: pause, image: pause, resources: {requests: {cpu: 100m}}}
`

// files are a test's: what a file of test cases names is there.
func files(text string) fstest.MapFS {
	return fstest.MapFS{
		"suite/cases.yaml":    {Data: []byte(text)},
		"objects/pod.yaml":    {Data: []byte(podText)},
		"suite/plain.yaml":    {Data: []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: a}]}\n")},
		"suite/cut.yaml":      {Data: []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: '{{.Index}'}\n")},
		"suite/unknown.yaml":  {Data: []byte("apiVersion: v1\nkind: Pod\nspec:\n  conainers: []\n")},
		"suite/wrong.yaml":    {Data: []byte("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: a, resources: {limits: {cpu: lots}}}\n")},
		"suite/kindless.yaml": {Data: []byte("metadata: {name: x}\n")},
		"suite/broken.yaml":   {Data: []byte("a: [\n")},
		"suite/zero.yaml":     {Data: []byte("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p{{DivideInt 1 .Index}}\n")},
	}
}

func TestParametersAreFilledIn(t *testing.T) {
	suite, err := Read(files(`
- name: Case
  labels: [a]
  featureGates: {One: true, Two: false}
  defaultPodTemplatePath: ../objects/pod.yaml
  workloadTemplate:
  - {opcode: createNodes, countParam: $nodes}
  - opcode: createPods
    countParam: $pods
    countMultiplierParam: $groups
    templateParams: {weight: "$weight|3"}
  - {opcode: createPods, steadyStateParam: $steady, durationParam: $for, count: 7, templateParams: {weight: 4}}
  - {opcode: createPodSets, count: 2, namespacePrefix: set, createPodsOp: {opcode: createPods, countParam: $pods, podTemplatePath: plain.yaml}}
  - {opcode: createAny, templatePath: plain.yaml, countParam: $pods}
  workloads:
  - name: small
    labels: [b]
    threshold: {default: 7}
    featureGates: {Two: true}
    params: {nodes: 5, pods: 3, groups: 2, steady: true, for: 10s}
`), "suite/cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w, err := suite.Workload("Case/small", map[string]any{"nodes": 8})
	if err != nil {
		t.Fatal(err)
	}
	if nodes := w.Operations[0].Action.(*CreateNodes); nodes.Count != 8 {
		t.Errorf("%d nodes", nodes.Count)
	}
	if pods := w.Operations[1].Action.(*CreatePods); pods.Count != 6 || pods.TemplateParams["weight"] != 3 {
		t.Errorf("pods: %+v", pods)
	}
	if pods := w.Operations[2].Action.(*CreatePods); !pods.SteadyState || pods.Duration.Duration != 10*time.Second {
		t.Errorf("steady pods: %+v", pods)
	}
	if sets := w.Operations[3].Action.(*CreatePodSets); sets.Count != 2 || sets.CreatePods.Count != 3 {
		t.Errorf("sets: %+v", sets)
	}
	if objects := w.Operations[4].Action.(*CreateAny); *objects.Count != 3 {
		t.Errorf("objects: %+v", objects)
	}
	if strings.Join(w.Labels, " ") != "a b" || !w.FeatureGates["One"] || !w.FeatureGates["Two"] {
		t.Errorf("labels %v, feature gates %v", w.Labels, w.FeatureGates)
	}
	pod := &corev1.Pod{}
	if err := w.DefaultPodTemplate.Object(map[string]any{"weight": 3}, 4, 6, pod); err != nil {
		t.Fatal(err)
	}
	if *pod.Spec.Priority != 10 || pod.GenerateName != "p4-" || pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue() != 100 {
		t.Errorf("pod: %+v", pod)
	}
	// What one workload was given does not show in the next.
	if again, err := suite.Workload("Case/small", nil); err != nil || again.Operations[0].Action.(*CreateNodes).Count != 5 {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := suite.Workload("Case/small", map[string]any{"nods": 8}); err == nil || !strings.Contains(err.Error(), `no parameter "nods"; it has for, groups, nodes`) {
		t.Errorf("an unknown parameter: %v", err)
	}
	if _, err := suite.Workload("Case/small", map[string]any{"nodes": -1}); err == nil || !strings.Contains(err.Error(), "suite/cases.yaml:7: [0].workloadTemplate[0].count: workload small: -1 is negative") {
		t.Errorf("a negative parameter: %v", err)
	}
}

// in puts an operation, on line 3, into a file that is right otherwise.
func in(operation string) string {
	return "- name: Case\n  workloadTemplate:\n  - " + operation + "\n  workloads:\n  - {name: small, params: {pods: 3, text: many, half: 0.5}}\n"
}

func TestMistakesAreToldWithFileLineAndField(t *testing.T) {
	const file = "suite/cases.yaml"
	for text, want := range map[string]string{
		in("{opcode: createPodz}"):                                                   file + ":3: [0].workloadTemplate[0].opcode: unknown operation \"createPodz\"; there are barrier, churn,",
		in("{count: 3}"):                                                             file + ":3: [0].workloadTemplate[0].opcode: is missing",
		in("{opcode: createPods, cuont: 3}"):                                         file + ":3: [0].workloadTemplate[0].cuont: unknown field; did you mean \"count\"?",
		in("{opcode: createPods, count: -3}"):                                        file + ":3: [0].workloadTemplate[0].count: workload small: -3 is negative",
		in("{opcode: createPods, count: many}"):                                      file + ":3: [0].workloadTemplate[0].count: must be a whole number, not the text \"many\"",
		in("{opcode: createPods, count: 3, count: 4}"):                               file + ":3: [0].workloadTemplate[0].count: is given twice",
		in("{opcode: createPods, countParam: $nodes}"):                               file + ":3: [0].workloadTemplate[0].countParam: workload small: the workload gives no parameter \"nodes\"; it gives half, pods, text",
		in("{opcode: createPods, countParam: pods}"):                                 file + ":3: [0].workloadTemplate[0].countParam: workload small: \"pods\" is not a parameter: write $pods",
		in("{opcode: createPods, countParam: $text}"):                                file + ":3: [0].workloadTemplate[0].countParam: workload small: many is not a whole number",
		in("{opcode: createPods, countParam: $half}"):                                file + ":3: [0].workloadTemplate[0].countParam: workload small: 0.5 is not a whole number",
		in("{opcode: sleep, duration: soon}"):                                        file + ":3: [0].workloadTemplate[0].duration: \"soon\":",
		in("{opcode: createPods, podTemplatePath: none.yaml}"):                       file + ":3: [0].workloadTemplate[0].podTemplatePath: open suite/none.yaml",
		in("{opcode: createPods, podTemplatePath: cut.yaml}"):                        "suite/cut.yaml:3: template: bad character",
		in("{opcode: createPods, podTemplatePath: broken.yaml}"):                     "suite/broken.yaml:1: not YAML: ",
		in("{opcode: createPods, podTemplatePath: unknown.yaml}"):                    "suite/unknown.yaml:4: spec.conainers: unknown field; did you mean \"containers\"?",
		in("{opcode: createPods, podTemplatePath: wrong.yaml}"):                      "suite/wrong.yaml:5: spec.containers[0].resources.limits.cpu: \"lots\": quantities must match",
		in("{opcode: createPods, podTemplatePath: zero.yaml}"):                       "suite/zero.yaml:4: template: executing",
		in("{opcode: createPods, podTemplatePath: ../objects/pod.yaml}"):             "objects/pod.yaml:5: template: executing",
		in("{opcode: createAny, templatePath: kindless.yaml}"):                       "suite/kindless.yaml:1: apiVersion: is missing",
		in("{opcode: createAny}"):                                                    file + ":3: [0].workloadTemplate[0].templatePath: workload small: is missing",
		in("{opcode: churn, mode: shake, templatePaths: [plain.yaml]}"):              file + ":3: [0].workloadTemplate[0].mode: workload small: \"shake\" is not one of create, recreate",
		in("{opcode: barrier, stageRequirement: Done}"):                              file + ":3: [0].workloadTemplate[0].stageRequirement: workload small: \"Done\" is not one of Scheduled, Attempted",
		in("{opcode: createPods, collectMetrics: true, skipWaitToCompletion: true}"): file + ":3: [0].workloadTemplate[0].skipWaitToCompletion: workload small: excludes collectMetrics",
		in("[createPods]"):                                                           file + ":3: [0].workloadTemplate[0]: must be a mapping, not a list",
		"- name: Case\n  workloads: [{name: a}]\n":                                   file + ":1: [0].workloadTemplate: must be a list of operations",
		"- name: Case\n  workloadTemplate: [{opcode: sleep}]\n":                      file + ":1: [0].workloads: must be a list of at least one workload",
		in("{opcode: sleep}") + "  - name: small\n":                                  file + ":6: [0].workloads[1].name: another workload of Case is named \"small\" too",
		in("{opcode: sleep}") + in("{opcode: sleep}"):                                file + ":6: [1].name: another test case is named \"Case\" too",
		in("{opcode: sleep}") + "  - {name: big, threshold: -1}\n":                   file + ":6: [0].workloads[1].threshold: -1 is not a number that is at least 0",
		in("{opcode: sleep}") + "  label: [a]\n":                                     file + ":6: [0].label: unknown field; did you mean \"labels\"?",
		"name: Case\n":                                                               file + ":1: must be a list of test cases, not a mapping",
		"- name: [\n":                                                                file + ":1: not YAML: ",
		"":                                                                           file + ": is empty",
	} {
		_, err := Read(files(text), file)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestEveryMistakeIsToldOnce(t *testing.T) {
	_, err := Read(files(in("{opcode: createPods, count: -1, signatureBatchSize: -2, podTemplatePath: unknown.yaml}")+"  - {name: big}\n"), "suite/cases.yaml")
	if err == nil {
		t.Fatal("nothing was found")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 4 {
		t.Errorf("got %d lines:\n%v", len(lines), err)
	}
}

func TestUnusedParametersAndUnsupportedOperations(t *testing.T) {
	suite, err := Read(files(in("{opcode: sleep}")+"- name: Other\n  workloadTemplate: [{opcode: allocResourceClaims, namespace: x}]\n  workloads: [{name: a}]\n"), "suite/cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := suite.Workload("Case/small", nil); err == nil || !strings.Contains(err.Error(), "suite/cases.yaml:5: [0].workloads[0].params.half: no operation uses it") {
		t.Errorf("unused: %v", err)
	}
	if _, err := suite.Workload("Other/a", nil); err == nil || !strings.Contains(err.Error(), "operation allocResourceClaims is not supported: ") {
		t.Errorf("unsupported: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(in("{opcode: createPods, countParam: $pods, podTemplatePath: plain.yaml}"))
	f.Add(in("{opcode: createAny, templatePath: ../objects/pod.yaml}"))
	f.Fuzz(func(t *testing.T, text string) {
		suite, err := Read(files(text), "suite/cases.yaml")
		if err != nil {
			return
		}
		for _, name := range suite.Names() {
			_, _ = suite.Workload(name, nil)
		}
	})
}
