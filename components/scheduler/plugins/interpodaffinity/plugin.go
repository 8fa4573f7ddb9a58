// Package interpodaffinity is the InterPodAffinity plugin: pods near or far from other pods, required or preferred, in
// the topology that a node label spans; anti-affinity of pods already running counts against the new one too.
// https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
package interpodaffinity

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	listersv1 "k8s.io/client-go/listers/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Name of the plugin.
const Name = "InterPodAffinity"

// InterPodAffinity filters and scores by the pods that run already.
type InterPodAffinity struct {
	hardWeight      int32
	ignorePreferred bool
	parallelizer    fwk.Parallelizer
	snapshot        fwk.SharedLister
	namespaces      listersv1.NamespaceLister
}

var (
	_ fwk.PreFilterPlugin   = &InterPodAffinity{}
	_ fwk.FilterPlugin      = &InterPodAffinity{}
	_ fwk.PreScorePlugin    = &InterPodAffinity{}
	_ fwk.ScorePlugin       = &InterPodAffinity{}
	_ fwk.EnqueueExtensions = &InterPodAffinity{}
)

// New makes the plugin from *InterPodAffinityArgs.
func New(_ context.Context, obj runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	args, ok := obj.(*configv1.InterPodAffinityArgs)
	if !ok {
		return nil, fmt.Errorf("want args to be of type InterPodAffinityArgs, got %T", obj)
	}
	if err := Validate(nil, args); err != nil {
		return nil, err
	}
	return &InterPodAffinity{
		hardWeight:      *args.HardPodAffinityWeight,
		ignorePreferred: args.IgnorePreferredTermsOfExistingPods,
		parallelizer:    handle.Parallelizer(),
		snapshot:        handle.SnapshotSharedLister(),
		namespaces:      handle.SharedInformerFactory().Core().V1().Namespaces().Lister(),
	}, nil
}

// Validate checks the arguments.
func Validate(path *field.Path, args *configv1.InterPodAffinityArgs) error {
	if weight := args.HardPodAffinityWeight; weight != nil && (*weight < 0 || *weight > 100) {
		return field.Invalid(path.Child("hardPodAffinityWeight"), *weight, "not in valid range [0, 100]")
	}
	return nil
}

// Name returns the plugin's name.
func (*InterPodAffinity) Name() string { return Name }

// resolve replaces a term's namespace selector by the names of the namespaces it selects now, so that matching a
// running pod needs no labels of its namespace. The term is copied: it is shared with other cycles.
func (p *InterPodAffinity) resolve(term fwk.AffinityTerm) (fwk.AffinityTerm, error) {
	if term.NamespaceSelector.Empty() {
		return term, nil
	}
	selected, err := p.namespaces.List(term.NamespaceSelector)
	if err != nil {
		return term, err
	}
	if len(selected) > 0 {
		term.Namespaces = term.Namespaces.Clone()
		for _, namespace := range selected {
			term.Namespaces.Insert(namespace.Name)
		}
	}
	term.NamespaceSelector = labels.Nothing()
	return term, nil
}

func (p *InterPodAffinity) resolveAll(terms []fwk.AffinityTerm) ([]fwk.AffinityTerm, error) {
	resolved := make([]fwk.AffinityTerm, len(terms))
	for i := range terms {
		term, err := p.resolve(terms[i])
		if err != nil {
			return nil, err
		}
		resolved[i] = term
	}
	return resolved, nil
}

func (p *InterPodAffinity) resolveWeighted(terms []fwk.WeightedAffinityTerm) ([]fwk.WeightedAffinityTerm, error) {
	resolved := make([]fwk.WeightedAffinityTerm, len(terms))
	for i := range terms {
		term, err := p.resolve(terms[i].AffinityTerm)
		if err != nil {
			return nil, err
		}
		resolved[i] = fwk.WeightedAffinityTerm{AffinityTerm: term, Weight: terms[i].Weight}
	}
	return resolved, nil
}

// namespaceLabels are what running pods' namespace selectors see of the new pod; empty while the namespace is unknown.
func (p *InterPodAffinity) namespaceLabels(name string) labels.Set {
	namespace, err := p.namespaces.Get(name)
	if err != nil {
		return nil
	}
	return namespace.Labels
}

// matchesAll says whether the pod satisfies every term; no term is satisfied by none.
func matchesAll(terms []fwk.AffinityTerm, pod *v1.Pod) bool {
	for i := range terms {
		if !terms[i].Matches(pod, nil) {
			return false
		}
	}
	return len(terms) > 0
}

func matchesAny(terms []fwk.AffinityTerm, pod *v1.Pod) bool {
	for i := range terms {
		if terms[i].Matches(pod, nil) {
			return true
		}
	}
	return false
}
