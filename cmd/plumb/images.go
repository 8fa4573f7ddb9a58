package main

import (
	"slices"
	"strings"

	conformance "github.com/plumbline/plumbline/conformance/images"
	"github.com/plumbline/plumbline/framework/images"
)

// imageSets are the sets of images that a description can name.
func imageSets() []images.Set { return []images.Set{conformance.Set()} }

func isSet(name string) bool {
	return slices.ContainsFunc(imageSets(), func(s images.Set) bool { return s.Name == name })
}

func setNames() string {
	var names []string
	for _, set := range imageSets() {
		names = append(names, set.Name)
	}
	return strings.Join(names, ", ")
}
