package noderestriction

import (
	"context"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
)

// podCertificate lets a kubelet ask for certificates for the pods on its node alone, as those are: of
// their account, and for signers that they name.
func (p *Plugin) podCertificate(ctx context.Context, node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create {
		return fmt.Errorf("unexpected operation %v", a.GetOperation())
	}
	if a.GetSubresource() != "" {
		return fmt.Errorf("unexpected subresource %v", a.GetSubresource())
	}
	request, ok := a.GetObject().(*certificatesv1.PodCertificateRequest)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	asked := &request.Spec
	named := a.GetNamespace() + "/" + asked.PodName
	if string(asked.NodeName) != node {
		return fmt.Errorf("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", asked.NodeName, node)
	}
	own, err := p.objects.Node(ctx, "", node)
	switch {
	case err != nil:
		return fmt.Errorf("while retrieving node %q named in the PodCertificateRequest: %w", asked.NodeName, err)
	case own.UID != asked.NodeUID:
		return stale("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", named, asked.NodeUID, own.UID)
	}
	pod, err := p.objects.Pod(ctx, a.GetNamespace(), asked.PodName)
	switch {
	case err != nil:
		return fmt.Errorf("while retrieving pod %q named in the PodCertificateRequest: %w", named, err)
	case pod.UID != asked.PodUID:
		return stale("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", named, asked.PodUID, pod.UID)
	case pod.Spec.NodeName != node:
		return fmt.Errorf("pod %q is not running on node %q named in the PodCertificateRequest", named, asked.NodeName)
	case pod.Annotations[corev1.MirrorPodAnnotationKey] != "":
		return fmt.Errorf("pod %q is a mirror pod", named)
	case pod.Spec.ServiceAccountName != asked.ServiceAccountName:
		return fmt.Errorf("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", named, asked.ServiceAccountName, pod.Spec.ServiceAccountName)
	}
	account, err := p.objects.Account(ctx, a.GetNamespace(), asked.ServiceAccountName)
	switch {
	case err != nil:
		return fmt.Errorf("while retrieving service account %q named in the PodCertificateRequest: %w", a.GetNamespace()+"/"+asked.ServiceAccountName, err)
	case account.UID != asked.ServiceAccountUID:
		return stale("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account (%q)", named, asked.ServiceAccountUID, account.UID)
	case !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return certifiedBy(&v, asked.SignerName) }):
		return fmt.Errorf("pod %q does not mount a podCertificate projected volume for signer %q", named, asked.SignerName)
	}
	return nil
}

// stale is a refusal that may be gone when the kubelet tries again: one of us has not seen the newest.
func stale(format string, arguments ...any) error {
	return apierrors.NewInternalError(fmt.Errorf(format, arguments...))
}

func certifiedBy(v *corev1.Volume, signer string) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.PodCertificate != nil && s.PodCertificate.SignerName == signer
	})
}
