package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/plumbline/plumbline/components/kubelet/node"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

// makeRoot makes the directories that the kubelet and its plugins share.
func makeRoot(root string) error {
	for _, dir := range []string{"pods", "plugins", "plugins_registry", "pod-resources", "seccomp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o750); err != nil {
			return fmt.Errorf("--root-dir: %w", err)
		}
	}
	if err := runtime.WriteSandboxProfile(sandboxProfile(root)); err != nil {
		return fmt.Errorf("--root-dir: %w", err)
	}
	return nil
}

// sandboxProfile is beside the directory of the profiles that pods name.
func sandboxProfile(root string) string { return filepath.Join(root, "sandbox-seccomp.json") }

// reservationOf is what the configuration keeps from pods.
// Why one would: https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/.
func reservationOf(kc *kubeletconfig.KubeletConfiguration, capacity v1.ResourceList) (node.Reservation, error) {
	var r node.Reservation
	var err error
	if r.Kube, err = quantities("kubeReserved", kc.KubeReserved); err != nil {
		return r, err
	}
	if r.System, err = quantities("systemReserved", kc.SystemReserved); err != nil {
		return r, err
	}
	r.Eviction = v1.ResourceList{}
	for signal, name := range map[string]v1.ResourceName{"memory.available": v1.ResourceMemory, "nodefs.available": v1.ResourceEphemeralStorage} {
		text := kc.EvictionHard[signal]
		if text == "" {
			continue
		}
		total := capacity[name]
		quantity, err := share(text, total)
		if err != nil {
			return r, fmt.Errorf("evictionHard[%s]: %w", signal, err)
		}
		r.Eviction[name] = quantity
	}
	return r, nil
}

func quantities(field string, in map[string]string) (v1.ResourceList, error) {
	out := v1.ResourceList{}
	for name, text := range in {
		switch v1.ResourceName(name) {
		case v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage, "pid":
		default:
			return nil, fmt.Errorf("%s: cannot reserve %q resource: expected cpu, memory, ephemeral-storage or pid", field, name)
		}
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			return nil, fmt.Errorf("%s[%s]: %q: %w", field, name, text, err)
		}
		if quantity.Sign() < 0 {
			return nil, fmt.Errorf("%s[%s]: %q must not be negative", field, name, text)
		}
		out[v1.ResourceName(name)] = quantity
	}
	return out, nil
}

// share reads an amount, or a percentage of a total.
func share(text string, total resource.Quantity) (resource.Quantity, error) {
	percent, ok := strings.CutSuffix(text, "%")
	if !ok {
		return resource.ParseQuantity(text)
	}
	var value float64
	if _, err := fmt.Sscanf(percent, "%g", &value); err != nil || value < 0 || value > 100 {
		return resource.Quantity{}, fmt.Errorf("%q is not a percentage from 0 to 100", text)
	}
	return *resource.NewQuantity(int64(float64(total.Value())*value/100), total.Format), nil
}
