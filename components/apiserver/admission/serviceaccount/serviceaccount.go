// Package serviceaccount gives each pod a service account and mounts its token.
// See https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/utils/ptr"
)

// Name is the plugin's.
const Name = "ServiceAccount"

const (
	defaultAccount = "default"
	mountPath      = "/var/run/secrets/kubernetes.io/serviceaccount"
	volumePrefix   = "kube-api-access-"
	// tokenSeconds is an hour and a bit: by it the token endpoint knows tokens that were mounted here.
	tokenSeconds = 60*60 + 7
	// enforceAnnotation limits pods of an account to the secrets that it lists.
	enforceAnnotation = "kubernetes.io/enforce-mountable-secrets"
	// patience is for a new namespace's default account, which a controller is about to make.
	patience = 2 * time.Second
)

// Lookup finds a service account.
type Lookup func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)

// Plugin implements admission.MutationInterface and admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	get, await Lookup
}

var (
	_ admission.MutationInterface   = &Plugin{}
	_ admission.ValidationInterface = &Plugin{}
)

// New finds accounts by get, and waits by await for those that are to come.
func New(get, await Lookup) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), get: get, await: await}
}

// podOf is the pod that a request is about, nil where it is about something else.
func podOf(a admission.Attributes) *corev1.Pod {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || (a.GetSubresource() != "" && a.GetSubresource() != "ephemeralcontainers") {
		return nil
	}
	pod, _ := a.GetObject().(*corev1.Pod)
	return pod
}

func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// Admit names the account and mounts its token.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil || a.GetOperation() != admission.Create {
		return nil
	}
	// A mirror pod shows what a node runs already; it must stay as it is.
	if isMirror(pod) {
		return p.Validate(ctx, a, o)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
		pod.Spec.DeprecatedServiceAccount = defaultAccount
	}
	account, err := p.account(ctx, a, pod)
	if err != nil {
		return err
	}
	if ptr.Deref(pod.Spec.AutomountServiceAccountToken, ptr.Deref(account.AutomountServiceAccountToken, true)) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return p.Validate(ctx, a, o)
}

// account finds the pod's service account.
func (p *Plugin) account(ctx context.Context, a admission.Attributes, pod *corev1.Pod) (*corev1.ServiceAccount, error) {
	namespace, name := a.GetNamespace(), pod.Spec.ServiceAccountName
	account, err := p.get(ctx, namespace, name)
	if apierrors.IsNotFound(err) && name == defaultAccount {
		waiting, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		account, err = p.await(waiting, namespace, name)
	}
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
	}
	if err != nil {
		return nil, admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", namespace, name, err))
	}
	return account, nil
}

func mountToken(pod *corev1.Pod) {
	at := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, volumePrefix) })
	name := names.SimpleNameGenerator.GenerateName(volumePrefix)
	if at >= 0 {
		name = pod.Spec.Volumes[at].Name
	}
	mounted := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			// Whoever mounts something else there wants no token.
			taken := func(m corev1.VolumeMount) bool { return m.MountPath == mountPath }
			if !slices.ContainsFunc(containers[i].VolumeMounts, taken) {
				containers[i].VolumeMounts = append(containers[i].VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: mountPath})
				mounted = true
			}
		}
	}
	if mounted && at < 0 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, tokenVolume(name))
	}
}

// tokenVolume holds a token, the cluster's certificate authority and the namespace's name.
func tokenVolume(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To(int64(tokenSeconds))}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}}}
}

// Validate checks the account and, where it says so, the secrets that the pod uses.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a)
	late := a.GetOperation() == admission.Update && a.GetSubresource() == "ephemeralcontainers"
	if pod == nil || (a.GetOperation() != admission.Create && !late) {
		return nil
	}
	if !late && isMirror(pod) {
		return validateMirror(a, pod)
	}
	if pod.Spec.ServiceAccountName == "" {
		return admission.NewForbidden(a, fmt.Errorf("no service account specified for pod %s/%s", a.GetNamespace(), pod.Name))
	}
	account, err := p.account(ctx, a, pod)
	if err != nil {
		return err
	}
	if enforced, _ := strconv.ParseBool(account.Annotations[enforceAnnotation]); !enforced {
		return nil
	}
	if err := limitSecrets(account, pod, late); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// validateMirror keeps a node from gaining anything by a pod that it writes itself.
func validateMirror(a admission.Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference service accounts"))
	}
	if len(secretUses(pod, false)) > 0 || len(secretUses(pod, true)) > 0 || len(pod.Spec.ImagePullSecrets) > 0 {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference secrets"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			return admission.NewForbidden(a, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
		}
	}
	return nil
}

// use is one place where a pod names a secret.
type use struct{ where, secret string }

// secretUses are those of volumes and containers, or of ephemeral containers alone.
func secretUses(pod *corev1.Pod, ephemeral bool) []use {
	var uses []use
	inContainer := func(kind string, c *corev1.Container) {
		for _, env := range c.Env {
			if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
				uses = append(uses, use{fmt.Sprintf("%s %s with envVar %s referencing", kind, c.Name, env.Name), env.ValueFrom.SecretKeyRef.Name})
			}
		}
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				uses = append(uses, use{fmt.Sprintf("%s %s with envFrom referencing", kind, c.Name), from.SecretRef.Name})
			}
		}
	}
	if ephemeral {
		for _, e := range pod.Spec.EphemeralContainers {
			c := corev1.Container(e.EphemeralContainerCommon)
			inContainer("ephemeral container", &c)
		}
		return uses
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil {
			uses = append(uses, use{"volume with", v.Secret.SecretName})
		}
	}
	for i := range pod.Spec.InitContainers {
		inContainer("init container", &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		inContainer("container", &pod.Spec.Containers[i])
	}
	return uses
}

func limitSecrets(account *corev1.ServiceAccount, pod *corev1.Pod, ephemeral bool) error {
	for _, u := range secretUses(pod, ephemeral) {
		if !slices.ContainsFunc(account.Secrets, func(ref corev1.ObjectReference) bool { return ref.Name == u.secret }) {
			return fmt.Errorf("%s secret.secretName=%q is not allowed because service account %s does not reference that secret", u.where, u.secret, account.Name)
		}
	}
	if ephemeral {
		return nil
	}
	for i, pull := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, pull) {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, pull.Name, account.Name)
		}
	}
	return nil
}
