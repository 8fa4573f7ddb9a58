// Package storage has the resources of the group storage.k8s.io/v1: classes of
// storage, the drivers that provide it, and where volumes are attached.
//
// See https://kubernetes.io/docs/concepts/storage/.
package storage
