// Package environment makes the environment variables of a container: those it is
// given by value, those taken from config maps, secrets, files and the downward API,
// and those that name the services around it.
package environment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Objects answers where values come from.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*v1.Secret, error)
}

// Request is all that a container's environment depends on.
type Request struct {
	Pod         *v1.Pod
	Container   *v1.Container
	Addresses   Addresses
	Allocatable v1.ResourceList
	Services    []*v1.Service
	Objects     Objects
	// VolumePath says where a volume of the pod is mounted on this host.
	VolumePath func(volume string) (string, error)
	// Skipped is told which keys of an object cannot be variables.
	Skipped func(object string, keys []string)
}

// Variables is an environment.
type Variables struct {
	order  []string
	values map[string]string
}

// Lookup answers a reference to a variable.
func (v *Variables) Lookup(name string) (string, bool) {
	value, ok := v.values[name]
	return value, ok
}

// CRI lists the variables as the runtime takes them.
func (v *Variables) CRI() []*runtimeapi.KeyValue {
	out := make([]*runtimeapi.KeyValue, len(v.order))
	for i, name := range v.order {
		out[i] = &runtimeapi.KeyValue{Key: name, Value: []byte(v.values[name])}
	}
	return out
}

func (v *Variables) set(name, value string) {
	if _, ok := v.values[name]; !ok {
		v.order = append(v.order, name)
	}
	v.values[name] = value
}

// Make makes the environment of a container. Its variables come, in order of rising
// precedence, from services, envFrom and env.
func Make(ctx context.Context, r Request) (*Variables, error) {
	vars := &Variables{values: map[string]string{}}
	for i := range r.Container.EnvFrom {
		if err := fromSource(ctx, &r, &r.Container.EnvFrom[i], vars); err != nil {
			return nil, err
		}
	}
	services := Services(r.Pod, r.Services)
	lookup := func(name string) (string, bool) {
		if value, ok := vars.Lookup(name); ok {
			return value, true
		}
		value, ok := services[name]
		return value, ok
	}
	for i := range r.Container.Env {
		env := &r.Container.Env[i]
		if env.ValueFrom == nil {
			vars.set(env.Name, Expand(env.Value, lookup))
			continue
		}
		value, present, err := fromRef(ctx, &r, env)
		if err != nil {
			return nil, err
		}
		if present {
			vars.set(env.Name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if _, taken := vars.values[name]; !taken {
			vars.set(name, services[name])
		}
	}
	return vars, nil
}

func fromSource(ctx context.Context, r *Request, source *v1.EnvFromSource, vars *Variables) error {
	data := map[string]string{}
	var object string
	switch {
	case source.ConfigMapRef != nil:
		object = "configmap " + r.Pod.Namespace + "/" + source.ConfigMapRef.Name
		cm, err := r.Objects.ConfigMap(ctx, r.Pod.Namespace, source.ConfigMapRef.Name)
		if err != nil {
			return tolerate(err, source.ConfigMapRef.Optional)
		}
		data = cm.Data
	case source.SecretRef != nil:
		object = "secret " + r.Pod.Namespace + "/" + source.SecretRef.Name
		secret, err := r.Objects.Secret(ctx, r.Pod.Namespace, source.SecretRef.Name)
		if err != nil {
			return tolerate(err, source.SecretRef.Optional)
		}
		for key, value := range secret.Data {
			data[key] = string(value)
		}
	}
	var skipped []string
	for _, key := range slices.Sorted(maps.Keys(data)) {
		name := source.Prefix + key
		if len(validation.IsRelaxedEnvVarName(name)) > 0 {
			skipped = append(skipped, key)
			continue
		}
		vars.set(name, data[key])
	}
	if len(skipped) > 0 && r.Skipped != nil {
		r.Skipped(object, skipped)
	}
	return nil
}

// tolerate forgives that an optional object is not there.
func tolerate(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

func fromRef(ctx context.Context, r *Request, env *v1.EnvVar) (value string, present bool, err error) {
	namespace := r.Pod.Namespace
	switch from := env.ValueFrom; {
	case from.FieldRef != nil:
		value, err = Field(r.Pod, r.Addresses, from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = Resource(r.Pod, r.Container, from.ResourceFieldRef, r.Allocatable)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := r.Objects.ConfigMap(ctx, namespace, ref.Name)
		if err != nil {
			return "", false, tolerate(err, ref.Optional)
		}
		if value, ok := cm.Data[ref.Key]; ok {
			return value, true, nil
		}
		return "", false, missing(ref.Optional, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, namespace, ref.Name))
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		secret, err := r.Objects.Secret(ctx, namespace, ref.Name)
		if err != nil {
			return "", false, tolerate(err, ref.Optional)
		}
		if value, ok := secret.Data[ref.Key]; ok {
			return string(value), true, nil
		}
		return "", false, missing(ref.Optional, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, namespace, ref.Name))
	case from.FileKeyRef != nil:
		return fromFile(r, from.FileKeyRef)
	}
	return "", false, fmt.Errorf("environment variable %s has an empty valueFrom", env.Name)
}

func missing(optional *bool, err error) error {
	if optional != nil && *optional {
		return nil
	}
	return err
}

// fromFile reads NAME='value' lines that an init container left in an emptyDir (KEP-3721).
func fromFile(r *Request, ref *v1.FileKeySelector) (string, bool, error) {
	dir, err := r.VolumePath(ref.VolumeName)
	if err != nil {
		return "", false, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, filepath.Join("/", ref.Path)))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", false, missing(ref.Optional, fmt.Errorf("failed to open file %q of volume %s: %w", ref.Path, ref.VolumeName, err))
		}
		return "", false, err
	}
	for _, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(name) == ref.Key {
			value = strings.TrimSpace(value)
			if unquoted := strings.TrimPrefix(strings.TrimSuffix(value, "'"), "'"); len(unquoted) == len(value)-2 {
				value = unquoted
			}
			return value, true, nil
		}
	}
	return "", false, missing(ref.Optional, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path))
}
