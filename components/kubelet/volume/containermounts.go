package volume

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/components/kubelet/environment"
)

// MountRequest is what the mounts of one container depend on.
type MountRequest struct {
	Pod       *v1.Pod
	Container *v1.Container
	// HostsFile is the pod's /etc/hosts; nil leaves the image's.
	HostsFile []byte
	// Lookup answers references in subPathExpr.
	Lookup func(name string) (string, bool)
	// Image resolves an image volume to an image that the runtime has.
	Image func(volume string) (*runtimeapi.ImageSpec, error)
	// RecursiveReadOnly says whether the runtime can make mounts read-only all the way down.
	RecursiveReadOnly bool
}

// Mounts are what a container finds in its file system besides its image: its
// volumes, its hosts file and the file for its last words.
func (m *Manager) Mounts(r MountRequest) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	hostsMounted := false
	for i := range r.Container.VolumeMounts {
		mount, err := m.volumeMount(r, i)
		if err != nil {
			return nil, err
		}
		hostsMounted = hostsMounted || mount.ContainerPath == "/etc/hosts"
		out = append(out, mount)
	}
	if len(r.Container.VolumeDevices) > 0 {
		return nil, fmt.Errorf("container %q: volumeDevices: block volumes are not supported by this kubelet", r.Container.Name)
	}
	if r.HostsFile != nil && !hostsMounted {
		path := filepath.Join(m.PodDir(r.Pod.UID), "etc-hosts")
		if err := os.WriteFile(path, r.HostsFile, 0o644); err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return nil, err
		}
		out = append(out, &runtimeapi.Mount{ContainerPath: "/etc/hosts", HostPath: path})
	}
	if r.Container.TerminationMessagePath != "" {
		path, err := m.terminationFile(r)
		if err != nil {
			return nil, err
		}
		inContainer := r.Container.TerminationMessagePath
		if !filepath.IsAbs(inContainer) {
			inContainer = filepath.Join("/", inContainer)
		}
		out = append(out, &runtimeapi.Mount{ContainerPath: inContainer, HostPath: path})
	}
	return out, nil
}

func (m *Manager) volumeMount(r MountRequest, index int) (*runtimeapi.Mount, error) {
	spec := &r.Container.VolumeMounts[index]
	volume := findVolume(r.Pod, spec.Name)
	if volume == nil {
		return nil, fmt.Errorf("cannot find volume %q to mount into container %q", spec.Name, r.Container.Name)
	}
	sub := spec.SubPath
	if spec.SubPathExpr != "" {
		var unknown string
		sub = environment.Expand(spec.SubPathExpr, func(name string) (string, bool) {
			value, ok := r.Lookup(name)
			if !ok {
				unknown = name
			}
			return value, ok
		})
		if unknown != "" {
			return nil, fmt.Errorf("missing value for %q", unknown)
		}
	}
	mount := &runtimeapi.Mount{
		ContainerPath: filepath.Join("/", spec.MountPath),
		Readonly:      spec.ReadOnly || written(volume),
		Propagation:   propagation(spec.MountPropagation),
	}
	if rro := spec.RecursiveReadOnly; rro != nil && mount.Readonly {
		mount.RecursiveReadOnly = *rro == v1.RecursiveReadOnlyEnabled || *rro == v1.RecursiveReadOnlyIfPossible && r.RecursiveReadOnly
		if *rro == v1.RecursiveReadOnlyEnabled && !r.RecursiveReadOnly {
			return nil, fmt.Errorf("volume %q requires recursive read-only mount, but the runtime handler does not support it", spec.Name)
		}
	}
	if volume.Image != nil {
		image, err := r.Image(volume.Name)
		if err != nil {
			return nil, err
		}
		mount.Image, mount.ImageSubPath, mount.Readonly = image, sub, true
		return mount, nil
	}
	if claim := volume.PersistentVolumeClaim; claim != nil && claim.ReadOnly {
		mount.Readonly = true
	}
	path, err := m.Path(r.Pod.UID, spec.Name)
	if err != nil {
		return nil, fmt.Errorf("cannot find volume %q to mount into container %q", spec.Name, r.Container.Name)
	}
	if sub != "" {
		if path, err = m.subPath(r.Pod.UID, spec.Name, r.Container.Name, index, path, sub); err != nil {
			return nil, err
		}
	}
	mount.HostPath = path
	return mount, nil
}

// terminationFile makes the file in which one run of a container may leave a message.
func (m *Manager) terminationFile(r MountRequest) (string, error) {
	dir := filepath.Join(m.PodDir(r.Pod.UID), "containers", r.Container.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", err
	}
	path := filepath.Join(dir, hex.EncodeToString(id[:]))
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return "", err
	}
	// Whatever user the container runs as must be able to write it.
	return path, os.Chmod(path, 0o666)
}

func findVolume(pod *v1.Pod, name string) *v1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

func propagation(mode *v1.MountPropagationMode) runtimeapi.MountPropagation {
	if mode != nil {
		switch *mode {
		case v1.MountPropagationHostToContainer:
			return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
		case v1.MountPropagationBidirectional:
			return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
		}
	}
	return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
}
