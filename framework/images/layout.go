package images

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layout is an OCI image layout directory whose index names each image in full.
type Layout struct {
	Dir string
}

// Named is an image of a layout.
type Named struct {
	Name       string
	Descriptor ocispec.Descriptor
}

// Images lists the layout's images.
func (l Layout) Images() ([]Named, error) {
	path := filepath.Join(l.Dir, "index.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []Named
	for _, desc := range index.Manifests {
		name := desc.Annotations[NameAnnotation]
		desc.Annotations, desc.Platform = nil, nil
		all = append(all, Named{Name: name, Descriptor: desc})
	}
	return all, nil
}
