// Package v1alpha1 is the description of a cluster, as one value that Go and YAML
// write alike: API group plumbline.dev, kind Cluster.
//
//	apiVersion: plumbline.dev/v1alpha1
//	kind: Cluster
//	metadata: {name: demo}
//	spec:
//	  nodes:
//	  - {name: node-1, resources: {cpu: "2", memory: 1Gi}}
//	  - {name: node-2}
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"

	hollow "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

const (
	// APIVersion is the group and version of this package.
	APIVersion = "plumbline.dev/v1alpha1"
	// Kind is the only kind in it.
	Kind = "Cluster"
	// ControlPlaneName is the name of the machine that the control plane runs on.
	ControlPlaneName = "control-plane"
)

// Cluster describes a cluster.
type Cluster struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata,omitzero"`
	Spec       Spec     `json:"spec,omitzero"`
}

// Metadata names a cluster.
type Metadata struct {
	// Name tells the clusters of one host apart. A lower-case DNS label; default "default".
	Name string `json:"name,omitempty"`
}

// Spec says what a cluster is made of.
type Spec struct {
	// ControlPlane is the machine of etcd, the API server, the controllers and the scheduler.
	ControlPlane Machine `json:"controlPlane,omitzero"`
	// Nodes are the machines that run pods.
	Nodes []Machine `json:"nodes,omitempty"`
	// Hollow are nodes without machines, and what happens on them.
	Hollow *hollow.Spec `json:"hollow,omitempty"`
	// Network holds the ranges of addresses.
	Network Network `json:"network,omitzero"`
	// Components changes how single components run, by their program's name.
	Components map[string]Component `json:"components,omitempty"`
	// Images are those that nodes have beside the usual ones, each entry the name of a set
	// ("conformance") or a path on the host: an OCI image layout or a tar file of images, as
	// docker save writes it. A path has a slash in it.
	Images []string `json:"images,omitempty"`
	// Addons says what is installed in the cluster beyond its components.
	Addons Addons `json:"addons,omitzero"`
}

// Machine is one machine.
type Machine struct {
	// Name is the machine's host name and the node's name. Nodes without one are
	// node-1, node-2 and so on, by their place. The control plane's is always "control-plane".
	Name string `json:"name,omitempty"`
	// Resources bound the machine, and are the node's capacity. What is left out is
	// as large as the host's.
	Resources Resources `json:"resources,omitzero"`
	// Labels and Taints are those that the node registers itself with.
	Labels map[string]string `json:"labels,omitempty"`
	Taints []Taint           `json:"taints,omitempty"`
	// Files are further files of the machine, by absolute path, for components whose
	// arguments name some: below /etc, /opt, /tmp, /var/lib or /var/log.
	Files map[string]string `json:"files,omitempty"`
}

// Resources bound a machine.
type Resources struct {
	// CPU is processor time, in processors: "2" or "500m".
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// Memory is in bytes: "1Gi".
	Memory *resource.Quantity `json:"memory,omitempty"`
	// Disk is the size of the file system that holds images, containers and volumes.
	Disk *resource.Quantity `json:"disk,omitempty"`
	// PIDs is the number of processes and threads.
	PIDs *resource.Quantity `json:"pids,omitempty"`
}

// Taint keeps pods off a node.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// Network holds the ranges of addresses. They are seen inside the cluster only, so
// clusters with the same ones stand side by side.
type Network struct {
	// FabricCIDR is where the machines' own addresses come from. Default 10.77.0.0/16.
	FabricCIDR string `json:"fabricCIDR,omitempty"`
	// PodCIDR is where pods' addresses come from; each node gets a /24. Default 10.88.0.0/16.
	PodCIDR string `json:"podCIDR,omitempty"`
	// ServiceCIDR is where Services' addresses come from. Default 10.96.0.0/16.
	ServiceCIDR string `json:"serviceCIDR,omitempty"`
	// Domain is the suffix of names in the cluster's DNS. Default cluster.local.
	Domain string `json:"domain,omitempty"`
}

// Component changes how one component runs.
type Component struct {
	// Program runs in the place of the usual one, with the same command line: the
	// path of an executable on the host.
	Program string `json:"program,omitempty"`
	// Args are added to the command line; of a flag given twice the last one counts.
	Args []string `json:"args,omitempty"`
	// Env is added to the environment, each as NAME=VALUE.
	Env []string `json:"env,omitempty"`
	// Disabled leaves the component out.
	Disabled bool `json:"disabled,omitempty"`
}

// Addons says what is installed in the cluster.
type Addons struct {
	// DNS installs CoreDNS. Default true.
	DNS *bool `json:"dns,omitempty"`
}

// New describes a cluster of a number of nodes with everything else as usual.
func New(name string, nodes int) *Cluster {
	return &Cluster{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: name}, Spec: Spec{Nodes: make([]Machine, nodes)}}
}
