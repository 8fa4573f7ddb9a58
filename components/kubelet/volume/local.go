package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// emptyDir makes a directory that lives as long as its pod, on disk or in memory.
func (m *Manager) emptyDir(pod *v1.Pod, volume *v1.Volume) (string, error) {
	dir := m.volumeDir(pod.UID, "empty-dir", volume.Name)
	_, err := os.Stat(dir)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	source := volume.EmptyDir
	switch source.Medium {
	case v1.StorageMediumDefault:
	case v1.StorageMediumMemory:
		size := memoryLimit(pod, m.allocatable())
		if source.SizeLimit != nil && !source.SizeLimit.IsZero() && (size == nil || source.SizeLimit.Cmp(*size) < 0) {
			size = source.SizeLimit
		}
		if err := mountTmpfs(dir, size); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("unknown storage medium %q", source.Medium)
	}
	// Containers that share it may run as any user.
	if info, err := os.Stat(dir); err == nil && info.Mode()&(os.ModePerm|os.ModeSticky) != 0o777 {
		if err := os.Chmod(dir, 0o777|info.Mode()&os.ModeSetgid); err != nil {
			return "", err
		}
	}
	if isNew || groupChangeAlways(pod) {
		return dir, applyGroup(pod, dir, false)
	}
	return dir, nil
}

func groupChangeAlways(pod *v1.Pod) bool {
	sc := pod.Spec.SecurityContext
	return sc != nil && sc.FSGroup != nil && (sc.FSGroupChangePolicy == nil || *sc.FSGroupChangePolicy == v1.FSGroupChangeAlways)
}

// memoryLimit is the most memory that a pod can ever use: the sum of its limits if
// each container has one, else what the node has.
func memoryLimit(pod *v1.Pod, allocatable v1.ResourceList) *resource.Quantity {
	node, ok := allocatable[v1.ResourceMemory]
	if pod.Spec.Resources != nil {
		if limit, set := pod.Spec.Resources.Limits[v1.ResourceMemory]; set {
			return &limit
		}
	}
	sum := resource.Quantity{}
	for _, c := range pod.Spec.Containers {
		limit, set := c.Resources.Limits[v1.ResourceMemory]
		if !set || limit.IsZero() {
			if !ok {
				return nil
			}
			return &node
		}
		sum.Add(limit)
	}
	if ok && sum.Cmp(node) > 0 {
		return &node
	}
	return &sum
}

// hostPath checks, and where asked makes, a path of this host.
// See https://kubernetes.io/docs/concepts/storage/volumes/#hostpath.
func hostPath(source *v1.HostPathVolumeSource) (string, error) {
	kind := v1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	path := source.Path
	info, err := os.Stat(path)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	refuse := func(what string) (string, error) {
		return "", fmt.Errorf("hostPath type check failed: %s is not %s", path, what)
	}
	switch kind {
	case v1.HostPathUnset:
	case v1.HostPathDirectoryOrCreate:
		if !exists {
			return path, os.MkdirAll(path, 0o755)
		}
		if !info.IsDir() {
			return refuse("a directory")
		}
	case v1.HostPathFileOrCreate:
		if !exists {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
			if err != nil {
				return "", err
			}
			return path, f.Close()
		}
		if info.IsDir() {
			return refuse("a file")
		}
	case v1.HostPathDirectory:
		if !exists || !info.IsDir() {
			return refuse("a directory")
		}
	case v1.HostPathFile:
		if !exists || !info.Mode().IsRegular() {
			return refuse("a file")
		}
	case v1.HostPathSocket:
		if !exists || info.Mode()&os.ModeSocket == 0 {
			return refuse("a socket file")
		}
	case v1.HostPathCharDev:
		if !exists || info.Mode()&os.ModeCharDevice == 0 {
			return refuse("a character device")
		}
	case v1.HostPathBlockDev:
		if !exists || info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
			return refuse("a block device")
		}
	default:
		return "", fmt.Errorf("%s is an invalid volume type", kind)
	}
	return path, nil
}

// protection is the finalizer that keeps a claim that is being deleted while a pod uses it.
const protection = "kubernetes.io/pvc-protection"

// claim follows a persistent volume claim to its volume. Volumes of the kinds
// hostPath and local are on this machine; others need a driver that this kubelet
// does not have.
func (m *Manager) claim(ctx context.Context, pod *v1.Pod, name string) (string, error) {
	if m.client == nil {
		return "", errors.New("persistent volumes need an API server")
	}
	claim, err := m.client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("error processing PVC %s/%s: failed to fetch PVC from API server: %w", pod.Namespace, name, err)
	}
	if claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, protection) {
		return "", fmt.Errorf("error processing PVC %s/%s: PVC is being deleted", pod.Namespace, name)
	}
	if claim.Status.Phase != v1.ClaimBound || claim.Spec.VolumeName == "" {
		return "", fmt.Errorf("error processing PVC %s/%s: PVC is not bound", pod.Namespace, name)
	}
	volume, err := m.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	}
	if ref := volume.Spec.ClaimRef; ref == nil || ref.UID != claim.UID {
		return "", fmt.Errorf("error processing PVC %s/%s: PV %s is not bound to it", pod.Namespace, name, volume.Name)
	}
	if volume.Spec.VolumeMode != nil && *volume.Spec.VolumeMode == v1.PersistentVolumeBlock {
		return "", fmt.Errorf("PV %s has volumeMode Block: only Filesystem is supported", volume.Name)
	}
	switch {
	case volume.Spec.HostPath != nil:
		return hostPath(volume.Spec.HostPath)
	case volume.Spec.Local != nil:
		if _, err := os.Stat(volume.Spec.Local.Path); err != nil {
			return "", fmt.Errorf("path %q does not exist", volume.Spec.Local.Path)
		}
		return volume.Spec.Local.Path, applyGroup(pod, volume.Spec.Local.Path, false)
	}
	return "", fmt.Errorf("no volume plugin matched name of persistent volume %s: only hostPath and local are supported", volume.Name)
}

// applyGroup gives a volume to the pod's fsGroup.
// See https://kubernetes.io/docs/tasks/configure-pod-container/security-context/.
func applyGroup(pod *v1.Pod, root string, readOnly bool) error {
	if pod.Spec.SecurityContext == nil || pod.Spec.SecurityContext.FSGroup == nil {
		return nil
	}
	group := int(*pod.Spec.SecurityContext.FSGroup)
	fileBits, dirBits := os.FileMode(0o660), os.FileMode(0o770)|os.ModeSetgid
	if readOnly {
		fileBits, dirBits = 0o440, 0o550|os.ModeSetgid
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, group); err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink != 0 {
			return nil
		}
		bits := fileBits
		if info.IsDir() {
			bits = dirBits
		}
		return os.Chmod(path, info.Mode()|bits)
	})
}
