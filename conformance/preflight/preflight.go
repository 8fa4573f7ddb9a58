// Package preflight finds out within seconds what would spoil a run of an hour: a
// cluster that cannot be reached, images that cannot be had, a disk that is full.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is what a cluster is given to answer one request.
const patience = 5 * time.Second

// Cluster is a cluster that answers.
type Cluster struct {
	Client kubernetes.Interface
	// Host is where its API is, Version what it reports, and Nodes the names of the nodes
	// that take ordinary pods.
	Host    string
	Version string
	Nodes   []string
}

// Connect reads a kubeconfig, asks the cluster for its version, and counts its nodes.
func Connect(ctx context.Context, kubeconfig string) (*Cluster, error) {
	if _, err := os.Stat(kubeconfig); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kubeconfig: there is no file %s", kubeconfig)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	config.Timeout = patience
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	c := &Cluster{Client: client, Host: config.Host}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("the cluster at %s (from %s) does not answer: %w", config.Host, kubeconfig, err)
	}
	c.Version = version.GitVersion
	return c, c.findNodes(ctx)
}

// Alive asks whether the cluster answers, for a while, since a busy one may pause.
func (c *Cluster) Alive(ctx context.Context) error {
	var err error
	for range 4 {
		if _, err = c.Client.Discovery().ServerVersion(); err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second): // nothing tells when it answers again
		}
	}
	return err
}

// Disk says whether a directory, or the one it will be made in, has room.
func Disk(dir string, need uint64) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	existing := dir
	for {
		if _, err := os.Stat(existing); err == nil || existing == filepath.Dir(existing) {
			break
		}
		existing = filepath.Dir(existing)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(existing, &stat); err != nil {
		return fmt.Errorf("%s: %w", existing, err)
	}
	if free := stat.Bavail * uint64(stat.Bsize); free < need {
		return fmt.Errorf("no room on disk: %s has %d MiB left and %d MiB are needed; make room, or name another directory", existing, free>>20, need>>20)
	}
	return nil
}
