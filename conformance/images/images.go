// Package images is the set of images that Kubernetes' conformance suite asks for,
// under the names it asks for, made offline: the suite's own programs from the
// module under conformance/upstream, everything else from Debian's packages.
package images

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/images"
)

const registry = "registry.k8s.io/e2e-test-images/"

// Set has every image that a conformance behaviour runs.
func Set() images.Set {
	base := userland()
	agnhost := agnhostLayers()
	return images.Set{Name: "conformance", Recipes: []images.Recipe{
		agnhostRecipe("agnhost:2.66.1", agnhost),
		agnhostRecipe("agnhost:2.55", agnhost),
		pets("kitten:1.8", "kitten", agnhost),
		pets("nautilus:1.8", "nautilus", agnhost),
		images.BusyboxImage(registry + "busybox:1.37.0-2"),
		images.NginxImage(registry + "nginx:1.27.0-2"),
		images.NginxImage(registry + "nginx:1.28.0-2"),
		plain("perl:5.26", v1.Config{Cmd: []string{"perl"}}, base, images.Packages("perl", "perl", "bash", "coreutils")),
		plain("nonroot:1.5", v1.Config{Cmd: []string{"bash"}, User: "1234"}, base),
		plain("ipc-utils:1.4", v1.Config{Cmd: []string{"bash"}}, base),
		plain("glibc-dns-testing:2.1.1", v1.Config{Cmd: []string{"bash"}}, base, images.CoreDNS()),
		plain("nonewprivs:1.4", v1.Config{Cmd: []string{"nnp"}}, base,
			images.Program(programs(), "nonewprivs", "/usr/local/bin/nnp", 0o755|setuid)),
		plain("sample-apiserver:1.29.2", v1.Config{Entrypoint: []string{"/sample-apiserver"}},
			[]images.Layer{images.Program(programs(), "sample-apiserver", "/sample-apiserver", 0o755)}),
		{
			Names:  []string{"registry.k8s.io/etcd:3.7.0-0"},
			Layers: append(base, images.Program(programs(), "etcd", "/usr/local/bin/etcd", 0o755)),
			Config: v1.Config{Cmd: []string{"etcd"}, Env: []string{images.PathEnv}, WorkingDir: "/"},
		},
	}}
}

// programs are the suite's programs that run in containers, each for any user land.
func programs() binaries.Group {
	group := binaries.Group{Name: "conformance-programs", Module: reference.Module, Programs: []binaries.Program{
		reference.Program("agnhost", reference.Kubernetes+"/test/images/agnhost"),
		reference.Program("nonewprivs", reference.Kubernetes+"/test/images/nonewprivs"),
		reference.Program("sample-apiserver", "k8s.io/sample-apiserver"),
		{Name: "etcd", Package: "go.etcd.io/etcd/server/v3", Module: "go.etcd.io/etcd/server/v3"},
	}}
	for i := range group.Programs {
		group.Programs[i].Static = true
	}
	return group
}

// plain is an image of some layers with nothing special about it.
func plain(name string, config v1.Config, base []images.Layer, more ...images.Layer) images.Recipe {
	config.Env, config.WorkingDir = []string{images.PathEnv}, "/"
	layers := append([]images.Layer{}, base...)
	return images.Recipe{Names: []string{registry + name}, Layers: append(layers, more...), Config: config}
}

func agnhostRecipe(name string, layers []images.Layer) images.Recipe {
	recipe := plain(name, v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}}, layers)
	// Two versions are two images, which a digest tells apart.
	recipe.Config.Labels = map[string]string{"dev.plumbline.tag": name}
	recipe.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}, "8080/tcp": {}, "8081/tcp": {}, "9376/tcp": {}, "5000/tcp": {}}
	return recipe
}

// pets is an image that serves the pages of one of the suite's animals.
func pets(name, animal string, layers []images.Layer) images.Recipe {
	folder := "test/images/" + animal + "/html/"
	recipe := agnhostRecipe(name, append(append([]images.Layer{}, layers...),
		images.Published(animal, programs(), reference.Kubernetes, map[string]string{
			"/" + animal + ".jpg": folder + animal + ".jpg",
			"/data.json":          folder + "data.json",
		})))
	recipe.Config.Cmd = []string{"test-webserver"}
	return recipe
}

// agnhostLayers are the user land with agnhost and what its subcommands read.
func agnhostLayers() []images.Layer {
	const porter = "test/images/agnhost/porter/"
	accounts := images.Accounts()
	accounts["/etc/passwd"] += "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"
	accounts["/etc/group"] += "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"
	return append(userland(),
		images.CoreDNS(),
		images.Program(programs(), "agnhost", "/agnhost", 0o755),
		images.Published("agnhost-certificates", programs(), reference.Kubernetes, map[string]string{
			"/localhost.crt": porter + "localhost.crt",
			"/localhost.key": porter + "localhost.key",
		}),
		images.Text("agnhost-accounts", accounts),
		images.Text("agnhost-folders", map[string]string{
			"/agnhost-2":                        "-> agnhost",
			"/uploads/.keep":                    "",
			"/home/user-defined-in-image/.keep": "",
			// Behaviours of image volumes look for this name, that of the system which the
			// published image is built upon.
			"/etc/os-release": "NAME=\"Alpine Linux\"\nID=alpine\nPRETTY_NAME=\"Alpine Linux, as far as the conformance suite looks\"\n",
		}),
	)
}
