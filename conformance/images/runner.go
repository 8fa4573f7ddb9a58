package images

import (
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/images"
)

// RunnerImage runs the suite from within a cluster.
const RunnerImage = "plumbline.dev/conformance-runner:v1"

// RunnerSet has the image that runs the suite from within a cluster: this program, kubectl
// from the same directory, and the suite, on a user land of the release that they were
// built on.
func RunnerSet(plumb string) images.Set {
	const programs = "/usr/local/bin/"
	kubectl := filepath.Join(filepath.Dir(plumb), "kubectl")
	return images.Set{Name: "conformance-runner", Recipes: []images.Recipe{{
		Names: []string{RunnerImage},
		Layers: append(userland(),
			images.Program(reference.Suite(), reference.SuiteProgram, programs+reference.SuiteProgram, 0o755),
			images.HostProgram("kubectl", kubectl, programs+"kubectl"),
			images.HostProgram("plumb", plumb, programs+"plumb"),
		),
		Config: v1.Config{Entrypoint: []string{"plumb"}, Env: []string{images.PathEnv}, WorkingDir: "/"},
	}}}
}
