// Package volume makes the volumes of pods on this node and says how they are
// mounted into containers.
package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/plumbline/plumbline/components/kubelet/environment"
	"github.com/plumbline/plumbline/components/kubelet/podcertificate"
	"github.com/plumbline/plumbline/components/kubelet/token"
	"github.com/plumbline/plumbline/components/kubelet/trustbundle"
)

// Config is what volumes are made from.
type Config struct {
	// Root is the kubelet's directory; pods live in its subdirectory "pods".
	Root string
	// Client finds persistent volumes; nil in a standalone kubelet.
	Client kubernetes.Interface
	// Objects holds config maps and secrets.
	Objects environment.Objects
	// Tokens issues service account tokens.
	Tokens *token.Source
	// Bundles and Certificates are for projections of those; nil in a standalone kubelet.
	Bundles      *trustbundle.Bundles
	Certificates *podcertificate.Issuer
	// Addresses are a pod's and its host's, for the downward API.
	Addresses func(pod *v1.Pod) environment.Addresses
	// Allocatable is what the node has for pods.
	Allocatable func() v1.ResourceList
	// Due is called, and must not block, when a pod's volumes should be refreshed
	// because a token must be renewed.
	Due func(types.UID)
}

// Manager keeps the volumes of this node's pods.
type Manager struct {
	root         string
	client       kubernetes.Interface
	objects      environment.Objects
	tokens       *token.Source
	bundles      *trustbundle.Bundles
	certificates *podcertificate.Issuer
	addresses    func(pod *v1.Pod) environment.Addresses
	allocatable  func() v1.ResourceList
	due          func(types.UID)

	mu   sync.Mutex
	pods map[types.UID]*podVolumes
}

// podVolumes is what is known of one pod's volumes.
type podVolumes struct {
	// mu lets one writer at a time at the pod's directories.
	mu sync.Mutex
	// paths are where set up volumes are on this host.
	paths map[string]string
	renew *time.Timer
}

// New returns a manager without any volumes.
func New(c Config) *Manager {
	return &Manager{
		root: c.Root, client: c.Client, objects: c.Objects, tokens: c.Tokens, bundles: c.Bundles, certificates: c.Certificates,
		addresses: c.Addresses, allocatable: c.Allocatable, due: c.Due,
		pods: map[types.UID]*podVolumes{},
	}
}

// PodDir is the directory of a pod.
func (m *Manager) PodDir(uid types.UID) string { return filepath.Join(m.root, "pods", string(uid)) }

func (m *Manager) volumeDir(uid types.UID, plugin, name string) string {
	return filepath.Join(m.PodDir(uid), "volumes", "kubernetes.io~"+plugin, name)
}

func (m *Manager) of(uid types.UID) *podVolumes {
	m.mu.Lock()
	defer m.mu.Unlock()
	pv := m.pods[uid]
	if pv == nil {
		pv = &podVolumes{paths: map[string]string{}}
		m.pods[uid] = pv
	}
	return pv
}

// Error is the failure to set up one volume.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Prepare sets up those volumes of a pod that need no token, and checks the other
// sources of those that do. The rest is done by SetUp, which may then run beside the
// making of the pod's sandbox, as it only waits for the API server.
func (m *Manager) Prepare(ctx context.Context, pod *v1.Pod) error {
	return m.setUp(ctx, pod, true)
}

// SetUp makes all volumes of a pod, or brings their content up to date.
func (m *Manager) SetUp(ctx context.Context, pod *v1.Pod) error {
	return m.setUp(ctx, pod, false)
}

func (m *Manager) setUp(ctx context.Context, pod *v1.Pod, withoutTokens bool) error {
	pv := m.of(pod.UID)
	pv.mu.Lock()
	defer pv.mu.Unlock()
	for _, dir := range []string{"volumes", "plugins", "containers"} {
		if err := os.MkdirAll(filepath.Join(m.PodDir(pod.UID), dir), 0o750); err != nil {
			return err
		}
	}
	var errs []error
	var renewAt time.Time
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		path, renew, err := m.one(ctx, pod, volume, withoutTokens)
		if err != nil {
			errs = append(errs, &Error{Volume: volume.Name, Err: err})
			continue
		}
		if path != "" {
			pv.paths[volume.Name] = path
		}
		if !renew.IsZero() && (renewAt.IsZero() || renew.Before(renewAt)) {
			renewAt = renew
		}
	}
	if !renewAt.IsZero() {
		if pv.renew != nil {
			pv.renew.Stop()
		}
		uid := pod.UID
		pv.renew = time.AfterFunc(max(time.Until(renewAt), time.Second), func() { m.due(uid) })
	}
	return errors.Join(errs...)
}

// one sets up a single volume. Without a path it is not ready yet.
func (m *Manager) one(ctx context.Context, pod *v1.Pod, volume *v1.Volume, withoutTokens bool) (path string, renewAt time.Time, err error) {
	switch {
	case written(volume):
		c := &collector{manager: m, pod: pod, out: payload{}, withoutTokens: withoutTokens}
		if err := c.volume(ctx, volume); err != nil {
			return "", time.Time{}, err
		}
		if withoutTokens && hasToken(volume) {
			return "", time.Time{}, nil
		}
		path, err = m.write(pod, volume, c.out)
		return path, c.renewAt, err
	case volume.EmptyDir != nil:
		path, err = m.emptyDir(pod, volume)
	case volume.HostPath != nil:
		path, err = hostPath(volume.HostPath)
	case volume.PersistentVolumeClaim != nil:
		path, err = m.claim(ctx, pod, volume.PersistentVolumeClaim.ClaimName)
	case volume.Ephemeral != nil:
		path, err = m.claim(ctx, pod, pod.Name+"-"+volume.Name)
	case volume.Image != nil:
		// The runtime mounts it; there is nothing on this host to prepare.
		path = ""
	default:
		err = errors.New("no volume plugin matched")
	}
	return path, time.Time{}, err
}

// write publishes the content of a volume that the kubelet writes.
func (m *Manager) write(pod *v1.Pod, volume *v1.Volume, content payload) (string, error) {
	plugin, inMemory := "configmap", false
	switch {
	case volume.Secret != nil:
		plugin, inMemory = "secret", true
	case volume.Projected != nil:
		plugin, inMemory = "projected", true
	case volume.DownwardAPI != nil:
		plugin, inMemory = "downward-api", true
	}
	if err := content.check(); err != nil {
		return "", err
	}
	dir := m.volumeDir(pod.UID, plugin, volume.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	if inMemory {
		// Secrets never reach a disk.
		if err := mountTmpfs(dir, nil); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return "", err
	}
	return dir, publish(dir, content, func(root string) error { return applyGroup(pod, root, true) })
}

// Path says where a set up volume of a pod is on this host.
func (m *Manager) Path(uid types.UID, volume string) (string, error) {
	pv := m.of(uid)
	pv.mu.Lock()
	defer pv.mu.Unlock()
	if path, ok := pv.paths[volume]; ok {
		return path, nil
	}
	return "", fmt.Errorf("volume %q is not set up", volume)
}

// Paths are the volumes of a pod that are set up, and where.
func (m *Manager) Paths(uid types.UID) map[string]string {
	pv := m.of(uid)
	pv.mu.Lock()
	defer pv.mu.Unlock()
	return maps.Clone(pv.paths)
}

// Unmount gives back the volumes of a pod whose containers have ended. The files
// with their last words stay until TearDown.
func (m *Manager) Unmount(uid types.UID) error {
	pv := m.of(uid)
	pv.mu.Lock()
	defer pv.mu.Unlock()
	if pv.renew != nil {
		pv.renew.Stop()
	}
	dir := m.PodDir(uid)
	if err := unmountBelow(dir); err != nil {
		return fmt.Errorf("UnmountVolume.TearDown failed for pod %s: %w", uid, err)
	}
	clear(pv.paths)
	return errors.Join(os.RemoveAll(filepath.Join(dir, "volumes")), os.RemoveAll(filepath.Join(dir, "volume-subpaths")))
}

// TearDown unmounts and removes all that a pod has on this host.
func (m *Manager) TearDown(uid types.UID) error {
	pv := m.of(uid)
	pv.mu.Lock()
	defer pv.mu.Unlock()
	if pv.renew != nil {
		pv.renew.Stop()
	}
	dir := m.PodDir(uid)
	if err := unmountBelow(dir); err != nil {
		return fmt.Errorf("UnmountVolume.TearDown failed for pod %s: %w", uid, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.pods, uid)
	m.mu.Unlock()
	if m.tokens != nil {
		m.tokens.Forget(uid)
	}
	if m.bundles != nil {
		m.bundles.Forget(uid)
	}
	if m.certificates != nil {
		m.certificates.Forget(uid)
	}
	return nil
}

// Leftovers are the pods that have a directory on this host.
func (m *Manager) Leftovers() []types.UID {
	entries, err := os.ReadDir(filepath.Join(m.root, "pods"))
	if err != nil {
		return nil
	}
	var out []types.UID
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			out = append(out, types.UID(entry.Name()))
		}
	}
	slices.Sort(out)
	return out
}
