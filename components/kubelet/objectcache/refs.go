package objectcache

import v1 "k8s.io/api/core/v1"

// RefsOf are the config maps and secrets that a pod refers to in its environment,
// its volumes and its pull secrets.
func RefsOf(pod *v1.Pod) []Ref {
	var refs []Ref
	configMap := func(name string) { refs = append(refs, Ref{ConfigMaps, pod.Namespace, name}) }
	secret := func(name string) { refs = append(refs, Ref{Secrets, pod.Namespace, name}) }
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name != "" {
			secret(ref.Name)
		}
	}
	environment := func(env []v1.EnvVar, from []v1.EnvFromSource) {
		for _, e := range env {
			if e.ValueFrom == nil {
				continue
			}
			if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
				configMap(r.Name)
			}
			if r := e.ValueFrom.SecretKeyRef; r != nil {
				secret(r.Name)
			}
		}
		for _, f := range from {
			if f.ConfigMapRef != nil {
				configMap(f.ConfigMapRef.Name)
			}
			if f.SecretRef != nil {
				secret(f.SecretRef.Name)
			}
		}
	}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			environment(c.Env, c.EnvFrom)
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		environment(c.Env, c.EnvFrom)
	}
	for _, volume := range pod.Spec.Volumes {
		switch {
		case volume.ConfigMap != nil:
			configMap(volume.ConfigMap.Name)
		case volume.Secret != nil:
			secret(volume.Secret.SecretName)
		case volume.Projected != nil:
			for _, source := range volume.Projected.Sources {
				if source.ConfigMap != nil {
					configMap(source.ConfigMap.Name)
				}
				if source.Secret != nil {
					secret(source.Secret.Name)
				}
			}
		}
	}
	return refs
}
