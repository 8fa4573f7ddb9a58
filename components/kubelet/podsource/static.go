package podsource

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // an identity, not a secret
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/fsnotify/fsnotify"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/klog/v2"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// static compares what a source of manifests holds with what it held before.
type static struct {
	source string
	node   string
	sink   Sink
	known  map[types.UID]*v1.Pod
}

// replace takes in all pods that the source holds now.
func (s *static) replace(pods map[types.UID]*v1.Pod) {
	for uid := range s.known {
		if pods[uid] == nil {
			s.sink.Remove(uid)
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		if s.known[uid] == nil {
			s.sink.Set(pods[uid])
		}
	}
	s.known = pods
}

// FromFiles follows a directory of manifests, or a single one, until ctx ends. It
// learns of changes by inotify and looks again every period in case some were missed.
func FromFiles(ctx context.Context, path, node string, period time.Duration, sink Sink) error {
	s := &static{source: File, node: node, sink: sink}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch static pods: %w", err)
	}
	defer watcher.Close()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	watched, complete := false, false
	for {
		if !watched {
			watched = watcher.Add(path) == nil
		}
		if pods, err := readManifests(path, node); err == nil {
			s.replace(pods)
			if !complete {
				complete = true
				sink.Complete(File)
			}
		} else {
			klog.FromContext(ctx).Error(err, "Read static pods", "path", path)
		}
		select {
		case event := <-watcher.Events:
			watched = watched && (event.Name != path || !event.Op.Has(fsnotify.Remove|fsnotify.Rename))
		case <-watcher.Errors:
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// readManifests reads all pods of a directory or file. A manifest that cannot be
// read is reported and left out; the others count.
func readManifests(path, node string) (map[types.UID]*v1.Pod, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[types.UID]*v1.Pod{}, nil
	}
	if err != nil {
		return nil, err
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "[^.]*")); err != nil {
			return nil, err
		}
	}
	pods := map[types.UID]*v1.Pod{}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			continue
		}
		raw, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // It went between being listed and being read.
		}
		if err != nil {
			klog.ErrorS(err, "Read a static pod", "file", file)
			continue
		}
		found, err := decodePods(raw)
		if err != nil {
			klog.ErrorS(err, "A static pod's manifest is not valid", "file", file)
			continue
		}
		for _, pod := range found {
			adopt(pod, File, node, file)
			pods[pod.UID] = pod
		}
	}
	return pods, nil
}

// FromURL fetches manifests from a URL every period until ctx ends.
func FromURL(ctx context.Context, url string, header http.Header, node string, period time.Duration, sink Sink) {
	s := &static{source: HTTP, node: node, sink: sink}
	client := &http.Client{Timeout: 10 * time.Second}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	complete := false
	for {
		pods, err := fetch(ctx, client, url, header, node)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Fetch static pods", "url", url)
		} else {
			s.replace(pods)
			if !complete {
				complete = true
				sink.Complete(HTTP)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func fetch(ctx context.Context, client *http.Client, url string, header http.Header, node string) (map[types.UID]*v1.Pod, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header = header.Clone()
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 10<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%v: %v", url, response.Status)
	}
	found, err := decodePods(raw)
	if err != nil {
		return nil, err
	}
	pods := map[types.UID]*v1.Pod{}
	for _, pod := range found {
		adopt(pod, HTTP, node, url)
		pods[pod.UID] = pod
	}
	return pods, nil
}

// decodePods reads Pods and PodLists (v1) in YAML or JSON; unknown fields are errors.
func decodePods(raw []byte) ([]*v1.Pod, error) {
	var out []*v1.Pod
	documents := yamlstream.NewDocumentDecoder(io.NopCloser(bytes.NewReader(raw)))
	buffer := make([]byte, len(raw)+1)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(buffer[:n])) == 0 {
			continue
		}
		asJSON, err := yaml.YAMLToJSONStrict(buffer[:n])
		if err != nil {
			return nil, err
		}
		pods, err := decodeDocument(asJSON)
		if err != nil {
			return nil, err
		}
		out = append(out, pods...)
	}
	if len(out) == 0 {
		return nil, errors.New("no pod in it")
	}
	return out, nil
}

func decodeDocument(raw []byte) ([]*v1.Pod, error) {
	var kind struct{ APIVersion, Kind string }
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	strictly := func(into any) error {
		strict, err := kjson.UnmarshalStrict(raw, into)
		return errors.Join(append(strict, err)...)
	}
	switch {
	case kind.APIVersion != "v1":
	case kind.Kind == "Pod":
		pod := &v1.Pod{}
		if err := strictly(pod); err != nil {
			return nil, err
		}
		return []*v1.Pod{pod}, check(pod)
	case kind.Kind == "PodList":
		list := &v1.PodList{}
		if err := strictly(list); err != nil {
			return nil, err
		}
		var out []*v1.Pod
		for i := range list.Items {
			if err := check(&list.Items[i]); err != nil {
				return nil, err
			}
			out = append(out, &list.Items[i])
		}
		return out, nil
	}
	return nil, fmt.Errorf("apiVersion %q, kind %q: expected a v1 Pod or PodList", kind.APIVersion, kind.Kind)
}

// check refuses what could not be run, and names that would not be safe in paths. The API
// server validates the mirror in full.
func check(pod *v1.Pod) error {
	var errs field.ErrorList
	refuse := func(at *field.Path, value string, problems []string) {
		for _, problem := range problems {
			errs = append(errs, field.Invalid(at, value, problem))
		}
	}
	meta := field.NewPath("metadata")
	if pod.Name == "" {
		errs = append(errs, field.Required(meta.Child("name"), "name is required"))
	} else {
		refuse(meta.Child("name"), pod.Name, validation.IsDNS1123Subdomain(pod.Name))
	}
	if pod.Namespace != "" {
		refuse(meta.Child("namespace"), pod.Namespace, validation.IsDNS1123Label(pod.Namespace))
	}
	if pod.UID != "" {
		refuse(meta.Child("uid"), string(pod.UID), content.IsPathSegmentName(string(pod.UID)))
		if strings.ContainsFunc(string(pod.UID), unicode.IsControl) {
			refuse(meta.Child("uid"), string(pod.UID), []string{"must not contain control characters"})
		}
	}
	spec := field.NewPath("spec")
	if len(pod.Spec.Containers) == 0 {
		errs = append(errs, field.Required(spec.Child("containers"), ""))
	}
	taken := map[string]bool{}
	check := func(at *field.Path, list []v1.Container) {
		for i, c := range list {
			name, image := at.Index(i).Child("name"), at.Index(i).Child("image")
			switch {
			case c.Name == "":
				errs = append(errs, field.Required(name, ""))
			case taken[c.Name]:
				errs = append(errs, field.Duplicate(name, c.Name))
			default:
				refuse(name, c.Name, validation.IsDNS1123Label(c.Name))
			}
			taken[c.Name] = true
			if c.Image == "" {
				errs = append(errs, field.Required(image, ""))
			}
		}
	}
	check(spec.Child("containers"), pod.Spec.Containers)
	check(spec.Child("initContainers"), pod.Spec.InitContainers)
	return errs.ToAggregate()
}

// adopt makes a manifest's pod one of this node: its name says which node it is on,
// and its identity follows from its content, so a changed manifest is another pod.
func adopt(pod *v1.Pod, source, node, origin string) {
	if pod.UID == "" {
		content, _ := json.Marshal(pod)
		h := md5.New() //nolint:gosec // an identity, not a secret
		fmt.Fprintf(h, "host:%s\nsource:%s\norigin:%s\n", node, source, origin)
		h.Write(content)
		pod.UID = types.UID(hex.EncodeToString(h.Sum(nil)))
	}
	pod.Name = pod.Name + "-" + strings.ToLower(node)
	if pod.Namespace == "" {
		pod.Namespace = v1.NamespaceDefault
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[AnnotationSource] = source
	pod.Annotations[AnnotationHash] = string(pod.UID)
	pod.Annotations[AnnotationSeen] = time.Now().Format(time.RFC3339Nano)
	pod.Spec.NodeName = node
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, v1.Toleration{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute})
	setDefaults(pod)
	pod.Status.Phase = v1.PodPending
}
