package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/fabric"
	"github.com/plumbline/plumbline/framework/images"
	"github.com/plumbline/plumbline/framework/registry"
	"github.com/plumbline/plumbline/framework/runtime"
)

// additions tells the names of sets from the paths of archives.
func additions(asked []string, known []images.Set) (more runtime.Additions, err error) {
	var names []string
	for _, set := range known {
		names = append(names, set.Name)
	}
	for i, entry := range asked {
		if v1alpha1.IsImagePath(entry) {
			more.Archives = append(more.Archives, entry)
			continue
		}
		found := false
		for _, set := range known {
			if set.Name == entry {
				more.Sets = append(more.Sets, set)
				found = true
			}
		}
		if !found {
			because := "must be the path of an OCI image layout or a tar file of images; no set of images is known by name"
			if len(names) > 0 {
				because = "must be the name of a set of images (" + strings.Join(names, ", ") + ") or the path of an OCI image layout or a tar file of images"
			}
			return more, field.Invalid(field.NewPath("spec", "images").Index(i), entry, because)
		}
	}
	return more, nil
}

// registryPort is where the switch answers for image registries.
const registryPort = 5000

// imageRegistry serves the cluster's images on its fabric, from this process.
type imageRegistry struct {
	listener net.Listener
	server   *http.Server
}

func serveImages(ctx context.Context, on *fabric.Fabric, assets func(context.Context) (runtime.Assets, error)) (*imageRegistry, error) {
	listener, err := on.Listen(ctx, registryPort)
	if err != nil {
		return nil, err
	}
	content := registry.New(func() ([]images.Layout, error) {
		// No node asks before it has the assets itself.
		a, err := assets(context.WithoutCancel(ctx))
		return a.Images, err
	})
	r := &imageRegistry{listener: listener, server: &http.Server{Handler: content, ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = r.server.Serve(listener) }()
	return r, nil
}

func (r *imageRegistry) address() string { return r.listener.Addr().String() }

func (r *imageRegistry) close() error {
	if err := r.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
