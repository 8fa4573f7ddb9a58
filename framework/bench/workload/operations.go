package workload

import (
	"fmt"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Operation is one step of a workload, with all parameters filled in.
type Operation struct {
	// Index is its place in the workloadTemplate; names are made from it.
	Index int
	// Opcode is the step's name in the file.
	Opcode string
	// Action is one of *CreateNodes, *CreatePods and so on.
	Action Action
	// Where it stands in the file.
	File string
	Line int
}

// String names the operation and where it stands.
func (o Operation) String() string {
	return fmt.Sprintf("%s:%d: operation %d, %s", o.File, o.Line, o.Index, o.Opcode)
}

// Action is what an operation does.
type Action interface {
	// check tells what is wrong with the fields, once the parameters are filled in.
	check(wrong complain)
}

// complain tells what is wrong with a field.
type complain func(field, format string, values ...any)

func (wrong complain) negative(field string, value int) {
	if value < 0 {
		wrong(field, "%d is negative", value)
	}
}

func (wrong complain) required(field string, given bool) {
	if !given {
		wrong(field, "is missing")
	}
}

// actions are those that there are, by opcode.
func actions() map[string]func() Action {
	return map[string]func() Action{
		"createNodes":            func() Action { return &CreateNodes{} },
		"createNamespaces":       func() Action { return &CreateNamespaces{} },
		"createPods":             func() Action { return &CreatePods{} },
		"createPodSets":          func() Action { return &CreatePodSets{} },
		"createPodGroups":        func() Action { return &CreatePodGroups{} },
		"createResourceClaims":   func() Action { return &CreateResourceClaims{} },
		"createAny":              func() Action { return &CreateAny{} },
		"updateAny":              func() Action { return &UpdateAny{} },
		"deletePods":             func() Action { return &DeletePods{} },
		"churn":                  func() Action { return &Churn{} },
		"barrier":                func() Action { return &Barrier{} },
		"sleep":                  func() Action { return &Sleep{} },
		"startCollectingMetrics": func() Action { return &StartCollectingMetrics{} },
		"stopCollectingMetrics":  func() Action { return &StopCollectingMetrics{} },
	}
}

// unsupported are upstream's operations that a scheduler in a process of its own
// leaves no way to do: a file that has them can be read, but those test cases not run.
func unsupported() map[string]string {
	return map[string]string{
		"allocResourceClaims":    "it allocates by the scheduler's own code, in the scheduler's process",
		"startCollectingProfile": "it profiles the process that the scheduler shares with upstream's benchmark",
		"stopCollectingProfile":  "it profiles the process that the scheduler shares with upstream's benchmark",
	}
}

// CreateNodes makes nodes, as objects of the API.
type CreateNodes struct {
	Opcode           string    `json:"opcode"`
	Count            int       `json:"count"`
	CountParam       string    `json:"countParam" parameter:"Count"`
	NodeTemplatePath *Template `json:"nodeTemplatePath"`
	// At most one of these says what is different about each node.
	NodeAllocatableStrategy  *NodeAllocatable `json:"nodeAllocatableStrategy"`
	LabelNodePrepareStrategy *NodeLabels      `json:"labelNodePrepareStrategy"`
	UniqueNodeLabelStrategy  *UniqueNodeLabel `json:"uniqueNodeLabelStrategy"`
	TemplateParams           map[string]any   `json:"templateParams"`
}

// NodeAllocatable gives nodes more to allocate, volumes among it.
type NodeAllocatable struct {
	NodeAllocatable    map[string]string                         `json:"nodeAllocatable"`
	CSINodeAllocatable map[string]*storagev1.VolumeNodeResources `json:"csiNodeAllocatable"`
	MigratedPlugins    []string                                  `json:"migratedPlugins"`
}

// NodeLabels gives nodes one label, whose values take turns.
type NodeLabels struct {
	LabelKey    string   `json:"labelKey"`
	LabelValues []string `json:"labelValues"`
}

// UniqueNodeLabel gives each node a label whose value no other has.
type UniqueNodeLabel struct {
	LabelKey string `json:"labelKey"`
}

func (a *CreateNodes) check(wrong complain) {
	wrong.negative("count", a.Count)
	if s := a.LabelNodePrepareStrategy; s != nil {
		wrong.required("labelNodePrepareStrategy.labelKey", s.LabelKey != "")
		wrong.required("labelNodePrepareStrategy.labelValues", len(s.LabelValues) > 0)
	}
	if s := a.UniqueNodeLabelStrategy; s != nil {
		wrong.required("uniqueNodeLabelStrategy.labelKey", s.LabelKey != "")
	}
}

// CreateNamespaces makes namespaces named PREFIX-0, PREFIX-1 and so on.
type CreateNamespaces struct {
	Opcode                string    `json:"opcode"`
	Prefix                string    `json:"prefix"`
	Count                 int       `json:"count"`
	CountParam            string    `json:"countParam" parameter:"Count"`
	NamespaceTemplatePath *Template `json:"namespaceTemplatePath"`
}

func (a *CreateNamespaces) check(wrong complain) {
	wrong.required("prefix", a.Prefix != "")
	wrong.negative("count", a.Count)
}

// CreatePods makes pods and, unless told otherwise, waits until all are bound.
type CreatePods struct {
	Opcode               string `json:"opcode"`
	Count                int    `json:"count"`
	CountParam           string `json:"countParam" parameter:"Count"`
	CountMultiplierParam string `json:"countMultiplierParam" parameter:"*Count"`
	// Namespace is namespace-INDEX by default.
	Namespace       string    `json:"namespace"`
	PodTemplatePath *Template `json:"podTemplatePath"`
	CollectMetrics  bool      `json:"collectMetrics"`
	// SkipWaitToCompletion goes on once the pods are created.
	SkipWaitToCompletion bool `json:"skipWaitToCompletion"`
	// SteadyState replaces each pod that was bound by a new one, for Duration.
	SteadyState                       bool            `json:"steadyState"`
	SteadyStateParam                  string          `json:"steadyStateParam" parameter:"SteadyState"`
	Duration                          metav1.Duration `json:"duration"`
	DurationParam                     string          `json:"durationParam" parameter:"Duration"`
	PersistentVolumeTemplatePath      *Template       `json:"persistentVolumeTemplatePath"`
	PersistentVolumeClaimTemplatePath *Template       `json:"persistentVolumeClaimTemplatePath"`
	TemplateParams                    map[string]any  `json:"templateParams"`
	// SignatureBatchSize is how many pods in a row share the label "signature".
	SignatureBatchSize      int    `json:"signatureBatchSize"`
	SignatureBatchSizeParam string `json:"signatureBatchSizeParam" parameter:"SignatureBatchSize"`
}

func (a *CreatePods) check(wrong complain) {
	wrong.negative("count", a.Count)
	wrong.negative("signatureBatchSize", a.SignatureBatchSize)
	if a.SkipWaitToCompletion && a.CollectMetrics {
		wrong("skipWaitToCompletion", "excludes collectMetrics: what is measured is awaited")
	}
	if a.SkipWaitToCompletion && a.SteadyState {
		wrong("skipWaitToCompletion", "excludes steadyState, which lasts for its duration")
	}
	if a.SteadyState && a.Duration.Duration <= 0 {
		wrong("duration", "must be greater than zero for a steady state")
	}
	if (a.PersistentVolumeTemplatePath == nil) != (a.PersistentVolumeClaimTemplatePath == nil) {
		wrong("persistentVolumeTemplatePath", "and persistentVolumeClaimTemplatePath: give both or neither")
	}
}

// CreatePodSets makes the same pods in several namespaces, PREFIX-0, PREFIX-1 and so on.
type CreatePodSets struct {
	Opcode          string     `json:"opcode"`
	Count           int        `json:"count"`
	CountParam      string     `json:"countParam" parameter:"Count"`
	NamespacePrefix string     `json:"namespacePrefix"`
	CreatePods      CreatePods `json:"createPodsOp"`
}

func (a *CreatePodSets) check(wrong complain) {
	wrong.negative("count", a.Count)
	wrong.required("namespacePrefix", a.NamespacePrefix != "")
	a.CreatePods.check(func(field, format string, values ...any) { wrong("createPodsOp."+field, format, values...) })
}

// CreatePodGroups makes groups of pods that are scheduled together.
type CreatePodGroups struct {
	Opcode         string         `json:"opcode"`
	Namespace      string         `json:"namespace"`
	TemplatePath   *Template      `json:"templatePath"`
	TemplateParams map[string]any `json:"templateParams"`
	Count          int            `json:"count"`
	CountParam     string         `json:"countParam" parameter:"Count"`
}

func (a *CreatePodGroups) check(wrong complain) {
	wrong.required("namespace", a.Namespace != "")
	wrong.required("templatePath", a.TemplatePath != nil)
	if a.Count < 1 {
		wrong("count", "%d is less than 1", a.Count)
	}
}

// CreateResourceClaims makes claims of devices.
type CreateResourceClaims struct {
	Opcode       string    `json:"opcode"`
	Namespace    string    `json:"namespace"`
	TemplatePath *Template `json:"templatePath"`
	Count        int       `json:"count"`
	CountParam   string    `json:"countParam" parameter:"Count"`
}

func (a *CreateResourceClaims) check(wrong complain) {
	wrong.required("namespace", a.Namespace != "")
	wrong.required("templatePath", a.TemplatePath != nil)
	wrong.negative("count", a.Count)
}

// CreateAny makes objects of a kind that the template says.
type CreateAny struct {
	Opcode string `json:"opcode"`
	// Namespace is empty for what is in none.
	Namespace    string    `json:"namespace"`
	TemplatePath *Template `json:"templatePath"`
	// Count is 1 by default.
	Count          *int           `json:"count"`
	CountParam     string         `json:"countParam" parameter:"Count"`
	TemplateParams map[string]any `json:"templateParams"`
}

func (a *CreateAny) check(wrong complain) {
	wrong.required("templatePath", a.TemplatePath != nil)
	if a.Count != nil {
		wrong.negative("count", *a.Count)
	}
}

// UpdateAny replaces objects of a kind that the template says, and their status.
type UpdateAny struct {
	Opcode       string    `json:"opcode"`
	Namespace    string    `json:"namespace"`
	TemplatePath *Template `json:"templatePath"`
	// Count is 1 by default.
	Count      *int   `json:"count"`
	CountParam string `json:"countParam" parameter:"Count"`
	// UpdatePerSecond is 0 for as fast as possible.
	UpdatePerSecond int      `json:"updatePerSecond"`
	Subresources    []string `json:"subresources"`
}

func (a *UpdateAny) check(wrong complain) {
	wrong.required("templatePath", a.TemplatePath != nil)
	wrong.negative("updatePerSecond", a.UpdatePerSecond)
	if a.Count != nil {
		wrong.negative("count", *a.Count)
	}
}

// DeletePods deletes pods of a namespace.
type DeletePods struct {
	Opcode        string            `json:"opcode"`
	Namespace     string            `json:"namespace"`
	LabelSelector map[string]string `json:"labelSelector"`
	// SkipWaitToCompletion goes on while they are deleted.
	SkipWaitToCompletion bool `json:"skipWaitToCompletion"`
	// DeletePodsPerSecond is 0 for all at once.
	DeletePodsPerSecond int `json:"deletePodsPerSecond"`
}

func (a *DeletePods) check(wrong complain) {
	wrong.required("namespace", a.Namespace != "")
	wrong.negative("deletePodsPerSecond", a.DeletePodsPerSecond)
}

// Modes of Churn.
const (
	// Create makes one of each object at every interval, up to a number.
	Create = "create"
	// Recreate makes up to a number of each object, one at every interval, then
	// deletes them in the same way, and begins again.
	Recreate = "recreate"
)

// Churn makes and deletes objects in the background until the workload ends.
type Churn struct {
	Opcode string `json:"opcode"`
	Mode   string `json:"mode"`
	// Number of each object at a time; 0 is no limit.
	Number int `json:"number"`
	// IntervalMilliseconds is 500 by default.
	IntervalMilliseconds int64 `json:"intervalMilliseconds"`
	// Namespace is namespace-INDEX by default.
	Namespace     string      `json:"namespace"`
	TemplatePaths []*Template `json:"templatePaths"`
}

func (a *Churn) check(wrong complain) {
	wrong.negative("number", a.Number)
	wrong.negative("intervalMilliseconds", int(a.IntervalMilliseconds))
	wrong.required("templatePaths", len(a.TemplatePaths) > 0)
	oneOf(wrong, "mode", a.Mode, Create, Recreate)
	if a.Mode == Recreate && a.Number == 0 {
		wrong("number", "must be at least 1 in mode %s", Recreate)
	}
}

// Stages of Barrier.
const (
	// Scheduled pods have a node.
	Scheduled = "Scheduled"
	// Attempted pods have one, or have been told that there is none.
	Attempted = "Attempted"
)

// Barrier waits for the pods that earlier operations did not wait for.
type Barrier struct {
	Opcode string `json:"opcode"`
	// Namespaces are all by default.
	Namespaces    []string          `json:"namespaces"`
	LabelSelector map[string]string `json:"labelSelector"`
	// StageRequirement is Scheduled by default.
	StageRequirement string `json:"stageRequirement"`
}

func (a *Barrier) check(wrong complain) {
	if a.StageRequirement != "" {
		oneOf(wrong, "stageRequirement", a.StageRequirement, Scheduled, Attempted)
	}
}

// Sleep waits.
type Sleep struct {
	Opcode        string          `json:"opcode"`
	Duration      metav1.Duration `json:"duration"`
	DurationParam string          `json:"durationParam" parameter:"Duration"`
}

func (a *Sleep) check(wrong complain) {
	if a.Duration.Duration < 0 {
		wrong("duration", "%s is negative", a.Duration.Duration)
	}
}

// StartCollectingMetrics begins to measure.
type StartCollectingMetrics struct {
	Opcode string `json:"opcode"`
	// Name is added to the workload's in results.
	Name string `json:"name"`
	// Namespaces and LabelSelector say which pods count.
	Namespaces    []string          `json:"namespaces"`
	LabelSelector map[string]string `json:"labelSelector"`
}

func (a *StartCollectingMetrics) check(wrong complain) {
	wrong.required("namespaces", len(a.Namespaces) > 0)
}

// StopCollectingMetrics ends what StartCollectingMetrics began.
type StopCollectingMetrics struct {
	Opcode string `json:"opcode"`
}

func (*StopCollectingMetrics) check(complain) {}

func oneOf(wrong complain, field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		wrong(field, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}
