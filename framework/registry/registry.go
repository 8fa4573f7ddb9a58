// Package registry answers for image registries from OCI layouts, read-only, with
// the protocol that container runtimes pull by:
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/plumbline/plumbline/framework/images"
)

// Registry serves the images of some layouts, each under the registry that its
// full name begins with. A runtime that asks a mirror says which one it means in
// the parameter ns; without it the name is looked for in all.
type Registry struct {
	load func() (catalogue, error)
}

// New serves the layouts that the function returns; it is asked at the first request.
func New(layouts func() ([]images.Layout, error)) *Registry {
	return &Registry{load: sync.OnceValues(func() (catalogue, error) {
		list, err := layouts()
		if err != nil {
			return catalogue{}, err
		}
		return newCatalogue(list)
	})}
}

// catalogue is what a registry holds.
type catalogue struct {
	layouts []images.Layout
	// tags are the manifests by registry, repository and tag: "docker.io/library/busybox:latest".
	tags map[string]ocispec.Descriptor
	// manifests are the manifests by digest.
	manifests map[digest.Digest]ocispec.Descriptor
}

func newCatalogue(layouts []images.Layout) (catalogue, error) {
	c := catalogue{layouts: layouts, tags: map[string]ocispec.Descriptor{}, manifests: map[digest.Digest]ocispec.Descriptor{}}
	for _, layout := range layouts {
		all, err := layout.Images()
		if err != nil {
			return c, err
		}
		for _, img := range all {
			c.tags[img.Name] = img.Descriptor
			c.manifests[img.Descriptor.Digest] = img.Descriptor
		}
	}
	return c, nil
}

// Error codes of the protocol.
const (
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeUnsupported     = "UNSUPPORTED"
)

var request = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

// ServeHTTP answers one request.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, codeUnsupported, "this registry is read-only")
		return
	}
	if req.URL.Path == "/v2/" || req.URL.Path == "/v2" {
		w.WriteHeader(http.StatusOK)
		return
	}
	parts := request.FindStringSubmatch(req.URL.Path)
	if parts == nil {
		refuse(w, http.StatusNotFound, codeUnsupported, "this registry answers for manifests and blobs alone")
		return
	}
	held, err := r.load()
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, codeUnsupported, err.Error())
		return
	}
	repository, kind, reference := parts[1], parts[2], parts[3]
	if kind == "blobs" {
		held.blob(w, req, digest.Digest(reference))
		return
	}
	desc, ok := held.find(req.URL.Query().Get("ns"), repository, reference)
	if !ok {
		code, what := codeManifestUnknown, "has no "+reference
		if !held.has(repository) {
			code, what = codeNameUnknown, "is not among the images of this cluster"
		}
		refuse(w, http.StatusNotFound, code, repository+" "+what)
		return
	}
	w.Header().Set("Content-Type", desc.MediaType)
	held.serve(w, req, desc.Digest)
}

// find looks a manifest up by tag or digest.
func (c catalogue) find(registry, repository, reference string) (ocispec.Descriptor, bool) {
	if strings.Contains(reference, ":") {
		desc, ok := c.manifests[digest.Digest(reference)]
		return desc, ok
	}
	if registry != "" {
		desc, ok := c.tags[registry+"/"+repository+":"+reference]
		return desc, ok
	}
	for name, desc := range c.tags {
		if _, rest, _ := strings.Cut(name, "/"); rest == repository+":"+reference {
			return desc, true
		}
	}
	return ocispec.Descriptor{}, false
}

func (c catalogue) has(repository string) bool {
	for name := range c.tags {
		_, rest, _ := strings.Cut(name, "/")
		if at := strings.LastIndex(rest, ":"); at >= 0 && rest[:at] == repository {
			return true
		}
	}
	return false
}

func (c catalogue) blob(w http.ResponseWriter, req *http.Request, id digest.Digest) {
	if id.Validate() != nil {
		refuse(w, http.StatusNotFound, codeBlobUnknown, fmt.Sprintf("%q is not a digest", id))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	c.serve(w, req, id)
}

// serve sends a file of a layout, whole or in part, as the request asks.
func (c catalogue) serve(w http.ResponseWriter, req *http.Request, id digest.Digest) {
	file := c.open(id)
	if file == nil {
		refuse(w, http.StatusNotFound, codeBlobUnknown, id.String()+" is not here")
		return
	}
	defer file.Close()
	w.Header().Set("Docker-Content-Digest", id.String())
	w.Header().Set("Etag", strconv.Quote(id.String()))
	http.ServeContent(w, req, "", time.Time{}, file)
}

// open opens a file of whichever layout has it, or returns nil.
func (c catalogue) open(id digest.Digest) *os.File {
	for _, layout := range c.layouts {
		if file, err := os.Open(filepath.Join(layout.Dir, "blobs", id.Algorithm().String(), id.Encoded())); err == nil {
			return file
		}
	}
	return nil
}

// refuse answers with an error in the protocol's form.
func refuse(w http.ResponseWriter, status int, code, message string) {
	type reason struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]reason{"errors": {{Code: code, Message: message}}})
}
