package v1alpha1

import (
	"strings"
	"testing"
)

const head = "apiVersion: plumbline.dev/v1alpha1\nkind: Cluster\n"

func TestReadFillsInDefaults(t *testing.T) {
	c, err := Read([]byte(head + "spec: {nodes: [{}, {name: big, resources: {cpu: 500m, memory: 1Gi}}, {}]}"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, node := range c.Spec.Nodes {
		names = append(names, node.Name)
	}
	if got := strings.Join(names, " "); got != "node-1 big node-3" {
		t.Errorf("nodes %s", got)
	}
	if c.Metadata.Name != "default" || c.Spec.Network.PodCIDR != "10.88.0.0/16" || !*c.Spec.Addons.DNS {
		t.Errorf("defaults: %+v", c)
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"spec: {nodes: [{name: a}, {name: a}]}":                                         `spec.nodes[1].name: Duplicate value: "a"`,
		"spec: {nodes: [{name: control-plane}]}":                                        `spec.nodes[0].name: Duplicate value: "control-plane"`,
		"spec: {nodes: [{name: A_b}]}":                                                  "spec.nodes[0].name: Invalid value",
		"spec: {nodez: []}":                                                             `unknown field "spec.nodez"`,
		"spec: {nodes: [{resources: {memory: -1}}]}":                                    "spec.nodes[0].resources.memory: Invalid value",
		"spec: {nodes: [{resources: {memory: 1Mi}}]}":                                   "must be at least 64Mi",
		"spec: {nodes: [{resources: {memory: lots}}]}":                                  "quantities must match",
		"spec: {network: {podCIDR: 10.88.0.1/16}}":                                      "spec.network.podCIDR: Invalid value",
		"spec: {network: {podCIDR: 10.88.0.0}}":                                         "must be an IPv4 range in CIDR notation",
		"spec: {network: {podCIDR: 10.96.0.0/12}}":                                      "must not overlap",
		"spec: {network: {fabricCIDR: 10.77.0.0/24}}":                                   "must be /22 or larger",
		"spec: {components: {kube-shceduler: {program: /bin/true}}}":                    "spec.components[kube-shceduler]: Unsupported value",
		"spec: {components: {kube-scheduler: {program: /no/such}}}":                     "no such file",
		"spec: {components: {kube-scheduler: {program: /etc/passwd}}}":                  "must be an executable file",
		"spec: {components: {kube-scheduler: {env: [X]}}}":                              "must be NAME=VALUE",
		"spec: {nodes: [{taints: [{key: a, effect: Never}]}]}":                          "spec.nodes[0].taints[0].effect: Unsupported value",
		"spec: {images: [No_Name]}":                                                     "spec.images[0]: Invalid value",
		"spec: {images: [conformance, /no/such.tar]}":                                   "spec.images[1]: Invalid value",
		"metadata: {name: Not_A_Label}":                                                 "metadata.name: Invalid value",
		"spec: {}\nspec: {}":                                                            "already set in map",
		"spec: [":                                                                       "did not find expected node content",
		"metadata: {name: x}\nspec: {nodes: [{labels: {'bad key': v}}]}":                "spec.nodes[0].labels: Invalid value",
		"metadata: {name: x}\nspec: {controlPlane: {name: other}}":                      "spec.controlPlane.name: Unsupported value",
		"metadata: {name: x}\nspec: {nodes: [{resources: {pids: 3}}]}":                  "spec.nodes[0].resources.pids: Invalid value",
		"metadata: {name: x}\nspec: {nodes: [{resources: {disk: 0}}]}":                  "spec.nodes[0].resources.disk: Invalid value",
		"metadata: {name: x}\nspec: {network: {domain: UPPER}}":                         "spec.network.domain: Invalid value",
		"spec: {controlPlane: {files: {etc/policy.yaml: x}}}":                           "spec.controlPlane.files[etc/policy.yaml]: Invalid value",
		"spec: {nodes: [{files: {/usr/bin/x: x}}]}":                                     "must be below one of /etc/",
		"metadata: {name: x}\nspec: {nodes: [{name: 5}]}":                               "cannot unmarshal",
		"spec: {hollow: {nodes: [{count: -1}]}}":                                        "spec.hollow.nodes[0].count: Invalid value",
		"spec: {hollow: {pods: [{startAfter: soon}]}}":                                  "must be a time",
		"spec: {nodes: [{name: a, taints: [{key: k, value: a b, effect: NoExecute}]}]}": "spec.nodes[0].taints[0].value: Invalid value",
		`spec: {components: {etcd: {args: ["--name=a\0b"]}}}`:                           "spec.components[etcd].args[0]: Invalid value",
		`spec: {components: {etcd: {env: ["A=\0"]}}}`:                                   "spec.components[etcd].env[0]: Invalid value",
		`spec: {controlPlane: {files: {"/etc/a\0b": ""}}}`:                              "must not contain a NUL character",
		"spec: {hollow: {cidr: 10.64.0.0/10}}":                                          "spec.hollow.cidr: Invalid value",
		"spec: {nodes: [{name: hollow-2}], hollow: {nodes: [{count: 2}]}}":              "is the name of a machine, too",
	} {
		_, err := Read([]byte(head + text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
	if _, err := Read([]byte("apiVersion: v1\nkind: Pod\n")); err == nil || !strings.Contains(err.Error(), "apiVersion: Unsupported value") {
		t.Errorf("another kind: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(head + "spec: {nodes: [{name: a, resources: {cpu: 1}}], network: {podCIDR: 10.1.0.0/16}}"))
	f.Add([]byte(head + "spec: {components: {kubelet: {args: [--v=4]}}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Read(data); err == nil && c.Validate() != nil {
			t.Error("what was read does not validate again")
		}
	})
}
