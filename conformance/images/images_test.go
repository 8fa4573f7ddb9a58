package images

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/images"
)

// notRun are images that the suite names and no conformance behaviour runs.
var notRun = map[string]string{
	"registry.k8s.io/e2e-test-images/apparmor-loader:1.4":               "AppArmor",
	"registry.k8s.io/build-image/distroless-iptables:v0.9.9":            "conntrack and iptables of kube-proxy's own image",
	"registry.k8s.io/sig-storage/nfs-provisioner:v4.0.8":                "storage drivers",
	"registry.k8s.io/e2e-test-images/node-perf/npb-ep:1.6.0":            "node performance",
	"registry.k8s.io/e2e-test-images/node-perf/npb-is:1.7.0":            "node performance",
	"registry.k8s.io/e2e-test-images/node-perf/pytorch-wide-deep:1.0.0": "node performance",
	"registry.k8s.io/e2e-test-images/regression-issue-74839:1.5":        "a regression of kube-proxy",
	"registry.k8s.io/e2e-test-images/resource-consumer:1.14":            "horizontal autoscaling",
	"registry.k8s.io/e2e-test-images/volume/nfs:1.6.0":                  "storage drivers",
	"registry.k8s.io/e2e-test-images/volume/iscsi:2.7":                  "storage drivers",
	"registry.k8s.io/e2e-test-images/sample-device-plugin:1.7":          "device plugins",
	"gcr.io/k8s-authenticated-test/agnhost:2.6":                         "must not be pulled without a secret",
	"invalid.registry.k8s.io/invalid/alpine:3.1":                        "does not exist",
}

var registries = map[string]string{
	"PromoterE2eRegistry": "registry.k8s.io/e2e-test-images",
	"GcRegistry":          "registry.k8s.io",
	"GcEtcdRegistry":      "registry.k8s.io",
	"BuildImageRegistry":  "registry.k8s.io/build-image",
	"SigStorageRegistry":  "registry.k8s.io/sig-storage",
	"PrivateRegistry":     "gcr.io/k8s-authenticated-test",
	"InvalidRegistry":     "invalid.registry.k8s.io/invalid",
}

var configured = regexp.MustCompile(`configs\[\w+\] = Config\{list\.(\w+), "([^"]+)", "([^"]+)"\}`)

// TestTheSetHasWhatTheSuiteAsksFor compares the names with those in the suite's sources.
func TestTheSetHasWhatTheSuiteAsksFor(t *testing.T) {
	if testing.Short() {
		t.Skip("may fetch Kubernetes' sources")
	}
	source, err := cache.Source()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := programs().Dependency(t.Context(), source, reference.Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "test/utils/image/manifest.go"))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, set := range []images.Set{images.Standard(), Set()} {
		for _, recipe := range set.Recipes {
			have = append(have, recipe.Names...)
		}
	}
	asked := map[string]bool{}
	for _, config := range configured.FindAllStringSubmatch(string(manifest), -1) {
		registry, ok := registries[config[1]]
		if !ok {
			t.Errorf("the suite has a new registry %s", config[1])
		}
		name := registry + "/" + config[2] + ":" + config[3]
		asked[name] = true
		if !slices.Contains(have, name) && notRun[name] == "" {
			t.Errorf("the suite asks for %s, which is neither in the set nor listed as not run", name)
		}
	}
	if len(asked) < 20 {
		t.Fatalf("only %d images found in the suite's sources", len(asked))
	}
	for _, recipe := range Set().Recipes {
		for _, name := range recipe.Names {
			if !asked[name] {
				t.Errorf("the suite does not ask for %s", name)
			}
		}
	}
	for name := range notRun {
		if !asked[name] {
			t.Errorf("%s is listed as not run, and the suite does not name it", name)
		}
	}
}
