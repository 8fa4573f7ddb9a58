// Package userns gives pods that do not share the host's users a range of the host's
// user and group ids for themselves, so that root in such a pod is nobody on the host.
// See https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/.
package userns

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// file is where a pod's range is kept; its content is upstream's, so that either kubelet
// can take over the other's pods.
const file = "userns"

// IDsStep is what the length of a range is a multiple of: all ids that POSIX programs count on.
const IDsStep = 65536

// Config says which ids may be given away.
type Config struct {
	// Pods is the directory of all pods, which has one for each.
	Pods string
	// IDsPerPod is the length of a range, a multiple of IDsStep; MaxPods is how many ranges there are.
	IDsPerPod uint32
	MaxPods   int
}

// Ranges are the ids of this host beyond the first range, which is the host's own.
type Ranges struct {
	c Config

	mu    sync.Mutex
	owner map[uint32]types.UID
	first map[types.UID]uint32
}

type mapping struct {
	HostID      uint32 `json:"hostId"`
	ContainerID uint32 `json:"containerId"`
	Length      uint32 `json:"length"`
}

type record struct {
	UIDs []mapping `json:"uidMappings"`
	GIDs []mapping `json:"gidMappings"`
}

// New takes up the ranges that pods have from an earlier kubelet.
func New(c Config) (*Ranges, error) {
	r := &Ranges{c: c, owner: map[uint32]types.UID{}, first: map[types.UID]uint32{}}
	paths, err := filepath.Glob(filepath.Join(c.Pods, "*", file))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var known record
		if err := json.Unmarshal(raw, &known); err != nil || len(known.UIDs) != 1 {
			return nil, fmt.Errorf("%s: not the ids of a pod: %q", path, raw)
		}
		r.take(types.UID(filepath.Base(filepath.Dir(path))), known.UIDs[0].HostID)
	}
	return r, nil
}

func (r *Ranges) take(pod types.UID, first uint32) { r.owner[first], r.first[pod] = pod, first }

// Of is the user namespace of a pod, for which it is given a range the first time; nil
// if it leaves that to the runtime.
func (r *Ranges) Of(pod *v1.Pod) (*runtimeapi.UserNamespace, error) {
	switch {
	case pod.Spec.HostUsers == nil:
		return nil, nil
	case *pod.Spec.HostUsers:
		return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first, known := r.first[pod.UID]
	if !known {
		var err error
		if first, err = r.free(); err != nil {
			return nil, err
		}
		if err := r.note(pod.UID, first); err != nil {
			return nil, err
		}
		r.take(pod.UID, first)
	}
	ids := []*runtimeapi.IDMapping{{HostId: first, ContainerId: 0, Length: r.c.IDsPerPod}}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}, nil
}

func (r *Ranges) free() (uint32, error) {
	for i := range uint32(r.c.MaxPods) {
		first := (i + 1) * r.c.IDsPerPod
		if _, taken := r.owner[first]; !taken {
			return first, nil
		}
	}
	return 0, fmt.Errorf("all %d ranges of user ids are taken", r.c.MaxPods)
}

func (r *Ranges) note(pod types.UID, first uint32) error {
	ids := []mapping{{HostID: first, Length: r.c.IDsPerPod}}
	raw, err := json.Marshal(record{UIDs: ids, GIDs: ids})
	if err != nil {
		return err
	}
	dir := filepath.Join(r.c.Pods, string(pod))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file), raw, 0o600)
}

// Release takes back the range of a pod that is gone.
func (r *Ranges) Release(pod types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first, known := r.first[pod]; known {
		delete(r.first, pod)
		delete(r.owner, first)
	}
}
