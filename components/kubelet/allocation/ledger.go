package allocation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
)

// Record is what a kubelet must not forget of a pod's resources when it is restarted.
type Record struct {
	// Allocated is what the node has promised to the pod.
	Allocated Resources `json:"allocated"`
	// Actuated is what the pod's containers were last given.
	Actuated map[string]Amounts `json:"actuated,omitempty"`
}

// Ledger keeps records in the pods' directories, with which they go.
type Ledger struct {
	// PodDir is the directory of a pod.
	PodDir func(types.UID) string
}

func (l *Ledger) path(uid types.UID) string { return filepath.Join(l.PodDir(uid), "resources.json") }

// Load reads the record of a pod; nil if there is none.
func (l *Ledger) Load(uid types.UID) (*Record, error) {
	raw, err := os.ReadFile(l.path(uid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	record := new(Record)
	if err := json.Unmarshal(raw, record); err != nil {
		return nil, fmt.Errorf("%s: %w", l.path(uid), err)
	}
	return record, nil
}

// Save writes the record of a pod, whole or not at all.
func (l *Ledger) Save(uid types.UID, record *Record) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	path := l.path(uid)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
