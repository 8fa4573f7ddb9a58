// Package reference builds Kubernetes' own components and its conformance suite from
// the module under conformance/upstream, which holds their versions. What is built
// is kept in the cache and built anew only when a version changes.
package reference

import (
	"context"

	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/cache"
)

const (
	// Module is the directory, in the repository, of the module that everything of
	// Kubernetes is built from.
	Module = "conformance/upstream"
	// Kubernetes is the module that says which version of Kubernetes that is.
	Kubernetes = "k8s.io/kubernetes"
)

// SuiteProgram is the name of the compiled conformance suite.
const SuiteProgram = "e2e.test"

// Components are Kubernetes' own components, by the names that ours have too.
func Components() binaries.Group {
	group := binaries.Group{Name: "reference", Module: Module}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		group.Programs = append(group.Programs, Program(name, Kubernetes+"/cmd/"+name))
	}
	return group
}

// Suite is Kubernetes' conformance suite.
func Suite() binaries.Group {
	suite := Program(SuiteProgram, Kubernetes+"/test/e2e")
	suite.Tests = true
	return binaries.Group{Name: "suite", Module: Module, Programs: []binaries.Program{suite}}
}

// VerdictProgram is the name of the program that asks Kubernetes' own scheduler.
const VerdictProgram = "verdict"

// Verdict says what Kubernetes' own scheduler thinks of pods and nodes, in the
// protocol of conformance/differential.
func Verdict() binaries.Group {
	return binaries.Group{Name: "verdict", Module: Module, Programs: []binaries.Program{Program(VerdictProgram, "./verdict")}}
}

// Program is the recipe of a program that reports Kubernetes' version as its own.
func Program(name, pkg string) binaries.Program {
	variables := map[string]string{}
	for _, reports := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		variables[reports+".gitVersion"] = "{version}"
		variables[reports+".gitMajor"] = "{major}"
		variables[reports+".gitMinor"] = "{minor}"
		variables[reports+".gitTreeState"] = "clean"
	}
	return binaries.Program{Name: name, Package: pkg, Module: Kubernetes, Variables: variables}
}

// Build returns a group's programs, building them where the cache lacks them. It
// needs the repository's sources; progress is told each program that is built.
func Build(ctx context.Context, group binaries.Group, progress func(string)) (binaries.Set, error) {
	store, err := cache.Default()
	if err != nil {
		return binaries.Set{}, err
	}
	source, err := cache.Source()
	if err != nil {
		return binaries.Set{}, err
	}
	return group.Build(ctx, store, source, progress)
}
