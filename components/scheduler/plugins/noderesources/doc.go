// Package noderesources holds the plugins that compare what pods request with what nodes offer: NodeResourcesFit, which
// filters and scores by how full a node is, and NodeResourcesBalancedAllocation, which prefers nodes whose resources
// are used in equal shares.
// https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
package noderesources
