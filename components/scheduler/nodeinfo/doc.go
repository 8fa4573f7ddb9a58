// Package nodeinfo holds what the scheduler knows of a pod and of a node: parsed affinity terms, resource sums, ports,
// images. Its types implement the PodInfo, NodeInfo and Resource interfaces of k8s.io/kube-scheduler/framework.
package nodeinfo
