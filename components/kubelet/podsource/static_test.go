package podsource

import (
	"strings"
	"testing"
)

func TestManifestsThatCannotBeRun(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\n"
	const containers = "spec: {containers: [{name: c, image: i}]}\n"
	for text, want := range map[string]string{
		"":                           "no pod in it",
		"apiVersion: v1\nkind: Node": `kind "Node": expected a v1 Pod or PodList`,
		head + "metadata: {name: p}": "spec.containers: Required value",
		head + containers:            "metadata.name: Required value",
		head + "metadata: {name: ../p}\n" + containers:                                                                 "metadata.name: Invalid value: \"../p\"",
		head + "metadata: {name: p, namespace: a/b}\n" + containers:                                                    "metadata.namespace: Invalid value: \"a/b\"",
		head + "metadata: {name: p, uid: ../../x}\n" + containers:                                                      "metadata.uid: Invalid value: \"../../x\"",
		head + "metadata: {name: p}\nspec: {containers: [{name: ../c, image: i}]}":                                     "spec.containers[0].name: Invalid value: \"../c\"",
		head + "metadata: {name: p}\nspec: {containers: [{name: c}]}":                                                  "spec.containers[0].image: Required value",
		head + "metadata: {name: p}\nspec: {containers: [{name: c, image: i}], initContainers: [{name: c, image: i}]}": "spec.initContainers[0].name: Duplicate value: \"c\"",
		head + "metadata: {name: p}\nspec: {containers: [{name: c, image: i}], restart: Never}":                        `unknown field "spec.restart"`,
	} {
		if _, err := decodePods([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// FuzzManifest reads any file as static pods. What is taken has names that are safe in the
// paths of its logs and volumes.
func FuzzManifest(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}\n"))
	f.Add([]byte(`{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}]}`))
	f.Add([]byte("---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true, volumes: [{name: v}], containers: [{name: c, image: 'a/b:latest', livenessProbe: {httpGet: {port: 1}}}]}\n---\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		pods, err := decodePods(raw)
		if err != nil {
			return
		}
		for _, pod := range pods {
			adopt(pod, File, "node-1", "/etc/kubernetes/manifests/p.yaml")
			for _, name := range []string{pod.Name, pod.Namespace, string(pod.UID), pod.Spec.Containers[0].Name} {
				if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
					t.Errorf("the name %q was taken", name)
				}
			}
		}
	})
}
