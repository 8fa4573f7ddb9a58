// Package catalogue lists behaviours, ours and upstream's, as one kind of thing: what is
// promised, where it is promised, which components a failure speaks against, and which
// spec of which suite proves it.
package catalogue

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/conformance/suite"
	"github.com/plumbline/plumbline/framework/cache"
)

// The suites that behaviours come from.
const (
	Kubernetes = "kubernetes"
	Plumbline  = "plumbline"
)

// Behaviour is one promise of Kubernetes.
type Behaviour struct {
	// ID is unique and stable: the conformance document's code name, or the words in dots
	// that our suites use.
	ID string `json:"id"`
	// Suite is Kubernetes or Plumbline.
	Suite string `json:"suite"`
	// Area is the special interest group that answers for it, or the first word of our id.
	Area string `json:"area"`
	// Title is short, Promise says it in full.
	Title   string `json:"title,omitempty"`
	Promise string `json:"promise"`
	// Source is where the promise is written.
	Source string `json:"source"`
	// Release is the version that it holds since.
	Release string `json:"release,omitempty"`
	// Components are those that a failure speaks against, by upstream's names.
	Components []string `json:"components"`
	// Spec proves it.
	Spec suite.Spec `json:"spec"`
}

// OfKubernetes reads the behaviours that make up conformance from upstream's suite,
// which carries the document that defines them.
func OfKubernetes(ctx context.Context, program suite.Program, store cache.Store) ([]Behaviour, *suite.Listing, error) {
	listing, err := program.List(ctx, store)
	if err != nil {
		return nil, nil, err
	}
	document, err := conformanceDocument(ctx, program, store)
	if err != nil {
		return nil, nil, err
	}
	behaviours, err := join(document, listing)
	return behaviours, listing, err
}

// documented is an entry of upstream's conformance document.
type documented struct {
	Title       string `json:"testname"`
	CodeName    string `json:"codename"`
	Description string `json:"description"`
	Release     string `json:"release"`
	File        string `json:"file"`
}

func conformanceDocument(ctx context.Context, program suite.Program, store cache.Store) ([]documented, error) {
	data, err := program.Answer(ctx, store, "--list-conformance-tests")
	if err != nil {
		return nil, err
	}
	var all []documented
	if err := yaml.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("the list of conformance tests of %s: %w", program.Path, err)
	}
	return all, nil
}

// join finds each entry's spec.
func join(all []documented, listing *suite.Listing) ([]Behaviour, error) {
	specs := make(map[string]suite.Spec, len(listing.Specs))
	for _, spec := range listing.Specs {
		specs[spec.Name] = spec
	}
	var behaviours []Behaviour
	for _, entry := range all {
		spec, ok := specs[entry.CodeName]
		if !ok {
			return nil, fmt.Errorf("the suite lists no spec for behaviour %q of its own document", entry.CodeName)
		}
		behaviours = append(behaviours, Behaviour{
			ID: entry.CodeName, Suite: Kubernetes, Area: sig(entry.CodeName),
			Title: entry.Title, Promise: strings.Join(strings.Fields(entry.Description), " "),
			Source: entry.File, Release: entry.Release,
			Components: judged(entry.File, entry.CodeName), Spec: spec,
		})
	}
	return behaviours, nil
}

// sig is the special interest group in a code name's first brackets.
func sig(name string) string {
	rest, ok := strings.CutPrefix(name, "[")
	if !ok {
		return "other"
	}
	area, _, _ := strings.Cut(rest, "]")
	return area
}

// The labels of our specs, and the word that their programs know of themselves.
const (
	behaviourLabel = "behaviour:"
	judgesLabel    = "judges:"
	ownLabel       = "own-cluster"
)

// OfPlumbline reads the behaviours of our own suites from their labels. Specs that boot
// clusters of their own judge the components beside the program, whatever the cluster
// under test is made of, and are left out.
func OfPlumbline(ctx context.Context, program suite.Program, store cache.Store) ([]Behaviour, *suite.Listing, error) {
	listing, err := program.List(ctx, store)
	if err != nil {
		return nil, nil, err
	}
	var behaviours []Behaviour
	for _, spec := range listing.Specs {
		b := Behaviour{Suite: Plumbline, Spec: spec}
		for _, label := range spec.Labels {
			if id, ok := strings.CutPrefix(label, behaviourLabel); ok {
				b.ID = id
			}
			if component, ok := strings.CutPrefix(label, judgesLabel); ok {
				b.Components = append(b.Components, component)
			}
		}
		if b.ID == "" || slices.Contains(spec.Labels, ownLabel) {
			continue
		}
		b.Area, _, _ = strings.Cut(b.ID, ".")
		b.Promise, b.Source = ourWords(spec.Name, b.ID)
		behaviours = append(behaviours, b)
	}
	return behaviours, listing, nil
}

// ourWords takes a spec's text apart: containers, the id in brackets, the promise, and
// the source in parentheses at the end.
func ourWords(name, id string) (promise, source string) {
	if _, rest, ok := strings.Cut(name, "["+id+"] "); ok {
		name = rest
	}
	if at := strings.LastIndex(name, " ("); at >= 0 && strings.HasSuffix(name, ")") {
		return name[:at], name[at+2 : len(name)-1]
	}
	return name, ""
}
