package registry_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"

	"github.com/plumbline/plumbline/framework/images"
	"github.com/plumbline/plumbline/framework/registry"
)

const fullName = "registry.example/some/thing:v1"

// serve serves one random image under fullName.
func serve(t *testing.T) (url string, img v1.Image) {
	t.Helper()
	img, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.AppendImage(img, layout.WithAnnotations(map[string]string{images.NameAnnotation: fullName})); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(func() ([]images.Layout, error) { return []images.Layout{{Dir: dir}}, nil }))
	t.Cleanup(server.Close)
	return server.URL, img
}

// get asks for a path and returns the answer with its body.
func get(t *testing.T, method, url string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

func TestAnImageIsServedWholeByTagAndByDigest(t *testing.T) {
	server, img := serve(t)
	id, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, reference := range []string{"v1", id.String()} {
		answer, body := get(t, http.MethodGet, server+"/v2/some/thing/manifests/"+reference, nil)
		if got := digest.FromBytes(body).String(); got != id.String() || answer.Header.Get("Docker-Content-Digest") != got {
			t.Errorf("%s: digest %s, header %q, want %s", reference, got, answer.Header.Get("Docker-Content-Digest"), id)
		}
		if got := answer.Header.Get("Content-Type"); got != string(manifest.MediaType) {
			t.Errorf("%s: media type %q, want %q", reference, got, manifest.MediaType)
		}
	}
	for _, blob := range append(manifest.Layers, manifest.Config) {
		answer, body := get(t, http.MethodGet, server+"/v2/some/thing/blobs/"+blob.Digest.String(), nil)
		if got := digest.FromBytes(body).String(); got != blob.Digest.String() || answer.ContentLength != blob.Size {
			t.Errorf("blob %s: digest %s, %d bytes of %d", blob.Digest, got, answer.ContentLength, blob.Size)
		}
	}
}

func TestRequests(t *testing.T) {
	server, _ := serve(t)
	for _, r := range []struct {
		method, path string
		status       int
		code         string
	}{
		{http.MethodGet, "/v2/", http.StatusOK, ""},
		{http.MethodHead, "/v2/some/thing/manifests/v1", http.StatusOK, ""},
		{http.MethodGet, "/v2/some/thing/manifests/v1?ns=registry.example", http.StatusOK, ""},
		{http.MethodGet, "/v2/some/thing/manifests/v1?ns=docker.io", http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{http.MethodGet, "/v2/some/thing/manifests/v2", http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{http.MethodGet, "/v2/some/other/manifests/v1", http.StatusNotFound, "NAME_UNKNOWN"},
		{http.MethodGet, "/v2/some/thing/blobs/sha256:" + strings.Repeat("0", 64), http.StatusNotFound, "BLOB_UNKNOWN"},
		{http.MethodGet, "/v2/some/thing/blobs/sha256:..%2f..%2findex.json", http.StatusNotFound, "UNSUPPORTED"},
		{http.MethodGet, "/v2/some/thing/blobs/index.json", http.StatusNotFound, "BLOB_UNKNOWN"},
		{http.MethodGet, "/v2/some/thing/tags/list", http.StatusNotFound, "UNSUPPORTED"},
		{http.MethodPost, "/v2/some/thing/blobs/uploads/", http.StatusMethodNotAllowed, "UNSUPPORTED"},
		{http.MethodDelete, "/v2/some/thing/manifests/v1", http.StatusMethodNotAllowed, "UNSUPPORTED"},
	} {
		answer, body := get(t, r.method, server+r.path, nil)
		if answer.StatusCode != r.status {
			t.Errorf("%s %s: %d %s, want %d", r.method, r.path, answer.StatusCode, body, r.status)
		}
		if r.code == "" {
			continue
		}
		var reasons struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(body, &reasons); err != nil || len(reasons.Errors) != 1 || reasons.Errors[0].Code != r.code || reasons.Errors[0].Message == "" {
			t.Errorf("%s %s: %s, want the code %s with a message", r.method, r.path, body, r.code)
		}
	}
}

func TestABlobInPart(t *testing.T) {
	server, img := serve(t)
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	answer, body := get(t, http.MethodGet, server+"/v2/some/thing/blobs/"+id.String(), http.Header{"Range": {"bytes=10-19"}})
	if whole, err := img.RawConfigFile(); err != nil || answer.StatusCode != http.StatusPartialContent || string(body) != string(whole[10:20]) {
		t.Errorf("%d, %q, %v", answer.StatusCode, body, err)
	}
}

func TestLayoutsThatCannotBeReadAreAnError(t *testing.T) {
	server := httptest.NewServer(registry.New(func() ([]images.Layout, error) { return []images.Layout{{Dir: t.TempDir()}}, nil }))
	defer server.Close()
	if answer, body := get(t, http.MethodGet, server.URL+"/v2/some/thing/manifests/v1", nil); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}
