// Package behaviour names what a spec proves: an id that reports and comparisons use,
// the promise in one sentence, and where Kubernetes makes it.
package behaviour

import (
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
)

// Behaviour is one promise of Kubernetes.
type Behaviour struct {
	// ID is stable and unique, from the general to the particular, in dots:
	// "apps.deployment.rolling-update.bounds".
	ID string
	// Promise is one sentence, with Kubernetes as its subject's owner: "A rolling update
	// never has fewer than replicas - maxUnavailable available pods."
	Promise string
	// Source is the page, KEP or RFC that makes the promise.
	Source string
	// Judges are the components that a failure speaks against, by upstream's names.
	Judges []string
}

// It makes the spec that proves b. The promise is its text, and the id and the judged
// components are labels, so both can be selected:
//
//	--ginkgo.label-filter='judges:kube-proxy'
func It(b Behaviour, arguments ...any) {
	if err := b.check(); err != nil {
		panic(err) // a spec that cannot say what it proves is a mistake in the source
	}
	labels := ginkgo.Label("behaviour:" + b.ID)
	for _, component := range b.Judges {
		labels = append(labels, "judges:"+component)
	}
	arguments = append([]any{ginkgo.Offset(1), labels}, arguments...)
	ginkgo.It(fmt.Sprintf("[%s] %s (%s)", b.ID, b.Promise, b.Source), arguments...)
}

func (b Behaviour) check() error {
	switch {
	case b.ID == "" || strings.ContainsAny(b.ID, " []:"):
		return fmt.Errorf("behaviour %q: an id is words joined by dots", b.ID)
	case b.Promise == "" || strings.ContainsAny(b.Promise, "\n"):
		return fmt.Errorf("behaviour %s: the promise is one sentence", b.ID)
	case b.Source == "":
		return fmt.Errorf("behaviour %s: name where Kubernetes promises it", b.ID)
	case len(b.Judges) == 0:
		return fmt.Errorf("behaviour %s: name the components it judges", b.ID)
	}
	return nil
}
