// Package dra has the resources of the group resource.k8s.io/v1, dynamic resource
// allocation: devices, classes of them, and claims to them. (It is not called
// "resource" because that is the package of the declarative type.)
//
// Fields of features that are off by default are dropped as they come in: derived
// and list-typed attributes, compatibility groups, node allocatable resources,
// partition types and skipped node operations.
//
// See https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/.
package dra
