package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/plumbline/plumbline/components/kubelet/environment"
)

// collector gathers the content of a volume from its sources.
type collector struct {
	manager *Manager
	pod     *v1.Pod
	out     payload
	// withoutTokens leaves out what is issued to the pod; to find other faults first.
	withoutTokens bool
	// renewAt is when the first of the tokens and certificates must be renewed.
	renewAt time.Time
}

// written says whether the kubelet writes this volume's content.
func written(volume *v1.Volume) bool {
	return volume.ConfigMap != nil || volume.Secret != nil || volume.DownwardAPI != nil || volume.Projected != nil
}

// hasToken says whether a volume holds service account tokens or certificates.
func hasToken(volume *v1.Volume) bool {
	if volume.Projected != nil {
		for _, source := range volume.Projected.Sources {
			if source.ServiceAccountToken != nil || source.PodCertificate != nil {
				return true
			}
		}
	}
	return false
}

func (c *collector) volume(ctx context.Context, volume *v1.Volume) error {
	switch {
	case volume.ConfigMap != nil:
		s := volume.ConfigMap
		return c.configMap(ctx, s.Name, s.Items, s.Optional, mode(s.DefaultMode))
	case volume.Secret != nil:
		s := volume.Secret
		return c.secret(ctx, s.SecretName, s.Items, s.Optional, mode(s.DefaultMode))
	case volume.DownwardAPI != nil:
		return c.downward(volume.DownwardAPI.Items, mode(volume.DownwardAPI.DefaultMode))
	case volume.Projected != nil:
		return c.projected(ctx, volume.Name, volume.Projected)
	}
	return nil
}

func (c *collector) projected(ctx context.Context, name string, volume *v1.ProjectedVolumeSource) error {
	defaultMode := mode(volume.DefaultMode)
	var errs []error
	for i, source := range volume.Sources {
		var err error
		switch {
		case source.ConfigMap != nil:
			err = c.configMap(ctx, source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional, defaultMode)
		case source.Secret != nil:
			err = c.secret(ctx, source.Secret.Name, source.Secret.Items, source.Secret.Optional, defaultMode)
		case source.DownwardAPI != nil:
			err = c.downward(source.DownwardAPI.Items, defaultMode)
		case source.ServiceAccountToken != nil:
			err = c.token(ctx, source.ServiceAccountToken, defaultMode)
		case source.ClusterTrustBundle != nil:
			err = c.trustBundle(ctx, source.ClusterTrustBundle, defaultMode)
		case source.PodCertificate != nil:
			err = c.certificate(ctx, name, i, source.PodCertificate, defaultMode)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *collector) configMap(ctx context.Context, name string, items []v1.KeyToPath, optional *bool, defaultMode os.FileMode) error {
	cm, err := c.manager.objects.ConfigMap(ctx, c.pod.Namespace, name)
	if err != nil {
		return absent(err, optional)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for key, value := range cm.Data {
		data[key] = []byte(value)
	}
	for key, value := range cm.BinaryData {
		data[key] = value
	}
	return c.keys(data, items, optional, defaultMode, "configmap references non-existent config key: %s")
}

func (c *collector) secret(ctx context.Context, name string, items []v1.KeyToPath, optional *bool, defaultMode os.FileMode) error {
	secret, err := c.manager.objects.Secret(ctx, c.pod.Namespace, name)
	if err != nil {
		return absent(err, optional)
	}
	return c.keys(secret.Data, items, optional, defaultMode, "references non-existent secret key: %s")
}

// keys takes over all of an object's keys, or those that are listed.
func (c *collector) keys(data map[string][]byte, items []v1.KeyToPath, optional *bool, defaultMode os.FileMode, missing string) error {
	if len(items) == 0 {
		for key, value := range data {
			c.out[key] = file{data: value, mode: defaultMode}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf(missing, item.Key)
		}
		c.out[path.Clean(item.Path)] = file{data: value, mode: override(defaultMode, item.Mode)}
	}
	return nil
}

func (c *collector) downward(items []v1.DownwardAPIVolumeFile, defaultMode os.FileMode) error {
	var errs []error
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = environment.Field(c.pod, c.manager.addresses(c.pod), item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = environment.Resource(c.pod, nil, item.ResourceFieldRef, c.manager.allocatable())
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.out[path.Clean(item.Path)] = file{data: []byte(value), mode: override(defaultMode, item.Mode)}
	}
	return errors.Join(errs...)
}

func (c *collector) token(ctx context.Context, projection *v1.ServiceAccountTokenProjection, defaultMode os.FileMode) error {
	if c.withoutTokens {
		return nil
	}
	token, renewAt, err := c.manager.tokens.Get(ctx, c.pod, projection)
	if err != nil {
		return err
	}
	c.renewBy(renewAt)
	c.private(projection.Path, []byte(token), defaultMode)
	return nil
}

func (c *collector) renewBy(at time.Time) {
	if c.renewAt.IsZero() || at.Before(c.renewAt) {
		c.renewAt = at
	}
}

// private takes over what is for the eyes of the user that the containers run as, if that is known.
func (c *collector) private(at string, data []byte, defaultMode os.FileMode) {
	f := file{data: data, mode: defaultMode}
	if user := soleUser(c.pod); user != nil {
		f.owner, f.mode = user, 0o600
	}
	if sc := c.pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		f.mode = 0o600
	}
	c.out[path.Clean(at)] = f
}

func (c *collector) trustBundle(ctx context.Context, projection *v1.ClusterTrustBundleProjection, defaultMode os.FileMode) error {
	if c.manager.bundles == nil {
		return errors.New("ClusterTrustBundle projection needs an API server")
	}
	anchors, err := c.manager.bundles.Anchors(ctx, c.pod.UID, projection)
	if err != nil {
		return err
	}
	c.private(projection.Path, anchors, defaultMode)
	return nil
}

func (c *collector) certificate(ctx context.Context, volume string, source int, projection *v1.PodCertificateProjection, defaultMode os.FileMode) error {
	if c.withoutTokens {
		return nil
	}
	if c.manager.certificates == nil {
		return errors.New("podCertificate projection needs an API server")
	}
	bundle, err := c.manager.certificates.Get(ctx, c.pod, volume, source, projection)
	if err != nil {
		return err
	}
	c.renewBy(bundle.RenewAt)
	for at, data := range map[string][]byte{
		projection.CredentialBundlePath: slices.Concat(bundle.Key, bundle.Chain),
		projection.KeyPath:              bundle.Key, projection.CertificateChainPath: bundle.Chain,
	} {
		if at != "" {
			c.private(at, data, defaultMode)
		}
	}
	return nil
}

// soleUser is the user that all of a pod's containers run as, if the pod says so.
func soleUser(pod *v1.Pod) *int64 {
	var podWide *int64
	if pod.Spec.SecurityContext != nil {
		podWide = pod.Spec.SecurityContext.RunAsUser
	}
	var user *int64
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, container := range list {
			runs := podWide
			if sc := container.SecurityContext; sc != nil && sc.RunAsUser != nil {
				runs = sc.RunAsUser
			}
			if runs == nil || user != nil && *user != *runs {
				return nil
			}
			user = runs
		}
	}
	return user
}

func absent(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

func mode(m *int32) os.FileMode {
	if m == nil {
		return 0o644
	}
	return os.FileMode(*m)
}

func override(base os.FileMode, own *int32) os.FileMode {
	if own != nil {
		return os.FileMode(*own)
	}
	return base
}
