// Package podsource says which pods there should be on this node: those the API
// server assigned to it, those in static manifests, and those a URL lists.
package podsource

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The annotations by which static pods and their mirrors are told apart.
// See https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/.
const (
	AnnotationSource = "kubernetes.io/config.source"
	AnnotationHash   = "kubernetes.io/config.hash"
	AnnotationMirror = v1.MirrorPodAnnotationKey
	AnnotationSeen   = "kubernetes.io/config.seen"
)

// The sources' names.
const (
	API  = "api"
	File = "file"
	HTTP = "http"
)

// Sink takes what the sources say. Its methods must not block.
type Sink interface {
	// Set says that a pod should be, and how.
	Set(pod *v1.Pod)
	// Remove says that a pod should no longer be.
	Remove(uid types.UID)
	// Complete says that a source has named all its pods for the first time.
	Complete(source string)
}

// SourceOf says where a pod came from.
func SourceOf(pod *v1.Pod) string {
	if source := pod.Annotations[AnnotationSource]; source != "" {
		return source
	}
	return API
}

// IsStatic says whether a pod comes from elsewhere than the API server.
func IsStatic(pod *v1.Pod) bool { return SourceOf(pod) != API }

// IsMirror says whether a pod is only the API server's image of a static pod.
func IsMirror(pod *v1.Pod) bool {
	_, ok := pod.Annotations[AnnotationMirror]
	return ok
}
