// Package certificates approves certificate signing requests of kubelets, signs what is approved, and cleans up.
// https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const workers = 5

// loop is what the controllers of this package have in common: they look at each request when it changes.
type loop struct {
	name     string
	env      *controller.Env
	sources  controller.Sources
	requests certificateslisters.CertificateSigningRequestLister
	queue    *controller.Queue[string]
}

func newLoop(name string, env *controller.Env, handle func(context.Context, *certificatesv1.CertificateSigningRequest) error) *loop {
	requests := env.Informers.Certificates().V1().CertificateSigningRequests()
	l := &loop{name: name, env: env, requests: requests.Lister()}
	l.queue = controller.NewQueue(name, env.Clock, controller.DefaultBackoff, func(ctx context.Context, key string) error {
		request, err := l.requests.Get(key)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		err = handle(ctx, request.DeepCopy())
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	changed := func(request *certificatesv1.CertificateSigningRequest) { l.queue.Add(request.Name) }
	controller.Watch(&l.sources, requests.Informer(), controller.Handlers[*certificatesv1.CertificateSigningRequest]{
		Add: changed, Update: func(_, request *certificatesv1.CertificateSigningRequest) { changed(request) },
	})
	return l
}

// Name implements controller.Controller.
func (l *loop) Name() string { return l.name }

// Run implements controller.Controller.
func (l *loop) Run(ctx context.Context) error {
	if l.sources.WaitForSync(ctx) {
		l.queue.Run(ctx, workers)
	}
	return nil
}

func condition(request *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	i := slices.IndexFunc(request.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &request.Status.Conditions[i]
}

// NewApprover makes the controller that approves the requests that nodes may make for their own client certificates.
func NewApprover(env *controller.Env) (controller.Controller, error) {
	a := approver{env}
	return newLoop("certificatesigningrequest-approving-controller", env, a.handle), nil
}

type approver struct {
	env *controller.Env
}

func (a approver) handle(ctx context.Context, request *certificatesv1.CertificateSigningRequest) error {
	if len(request.Status.Certificate) > 0 || condition(request, certificatesv1.CertificateApproved) != nil || condition(request, certificatesv1.CertificateDenied) != nil {
		return nil
	}
	if request.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	parsed, err := parse(request.Spec.Request)
	if err != nil || checkKubeletClient(parsed, request.Spec.Usages) != nil {
		return nil //nolint:nilerr // not for us to approve
	}
	type right struct{ subresource, message string }
	rights := []right{{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}}
	if request.Spec.Username == parsed.Subject.CommonName {
		rights = append([]right{{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}}, rights...)
	}
	for _, r := range rights {
		may, err := a.may(ctx, request, r.subresource)
		if err != nil {
			return err
		}
		if !may {
			continue
		}
		now := metav1.NewTime(a.env.Clock.Now())
		request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: r.message, LastUpdateTime: now, LastTransitionTime: now,
		})
		_, err = a.env.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, request.Name, request, metav1.UpdateOptions{})
		return err
	}
	return nil
}

// may asks whether the requester may create certificate requests of that kind.
func (a approver) may(ctx context.Context, request *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for name, values := range request.Spec.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	review, err := a.env.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: request.Spec.Username, UID: request.Spec.UID, Groups: request.Spec.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Verb: "create", Subresource: subresource, Version: "*",
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// NewSigner makes the controller that signs for Kubernetes' own signers.
func NewSigner(env *controller.Env, authority *Authority) (controller.Controller, error) {
	s := signer{env, authority}
	return newLoop("certificatesigningrequest-signing-controller", env, s.handle), nil
}

type signer struct {
	env       *controller.Env
	authority *Authority
}

func (s signer) handle(ctx context.Context, request *certificatesv1.CertificateSigningRequest) error {
	if len(request.Status.Certificate) > 0 || condition(request, certificatesv1.CertificateFailed) != nil {
		return nil
	}
	if condition(request, certificatesv1.CertificateApproved) == nil || condition(request, certificatesv1.CertificateDenied) != nil {
		return nil
	}
	switch request.Spec.SignerName {
	case certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeAPIServerClientSignerName, legacySigner:
	default:
		return nil
	}
	client := s.env.Client.CertificatesV1().CertificateSigningRequests()
	parsed, err := parse(request.Spec.Request)
	if err == nil {
		err = check(request.Spec.SignerName, parsed, request.Spec.Usages)
	}
	if err != nil {
		if request.Spec.SignerName == legacySigner {
			return nil
		}
		now := metav1.NewTime(s.env.Clock.Now())
		request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error(), LastUpdateTime: now, LastTransitionTime: now,
		})
		_, err := client.UpdateStatus(ctx, request, metav1.UpdateOptions{})
		return err
	}
	life := s.authority.longest
	if asked := request.Spec.ExpirationSeconds; asked != nil {
		life = max(10*time.Minute, time.Duration(ptr.Deref(asked, 0))*time.Second)
	}
	if request.Status.Certificate, err = s.authority.sign(parsed, request.Spec.Usages, life); err != nil {
		return err
	}
	_, err = client.UpdateStatus(ctx, request, metav1.UpdateOptions{})
	return err
}

// NewCleaner makes the controller that deletes requests nobody needs any more.
func NewCleaner(env *controller.Env) (controller.Controller, error) {
	requests := env.Informers.Certificates().V1().CertificateSigningRequests()
	c := &cleaner{env: env, requests: requests.Lister()}
	c.sources.Need(requests.Informer())
	return c, nil
}

type cleaner struct {
	env      *controller.Env
	sources  controller.Sources
	requests certificateslisters.CertificateSigningRequestLister
}

// Name implements controller.Controller.
func (c *cleaner) Name() string { return "certificatesigningrequest-cleaner-controller" }

// Run implements controller.Controller.
func (c *cleaner) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	tick := c.env.Clock.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		all, err := c.requests.List(labels.Everything())
		if err != nil {
			return err
		}
		for _, request := range all {
			if !useless(request, c.env.Clock.Now()) {
				continue
			}
			err := c.env.Client.CertificatesV1().CertificateSigningRequests().Delete(ctx, request.Name, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				klog.FromContext(ctx).Error(err, "Will try again in an hour", "request", request.Name)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
	}
}

// useless tells whether the request was dealt with an hour ago, has waited for a day, or its certificate has expired.
func useless(request *certificatesv1.CertificateSigningRequest, now time.Time) bool {
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if c := condition(request, kind); c != nil && now.Sub(c.LastUpdateTime.Time) > time.Hour {
			return true
		}
	}
	if len(request.Status.Conditions) == 0 && now.Sub(request.CreationTimestamp.Time) > 24*time.Hour {
		return true
	}
	block, _ := pem.Decode(request.Status.Certificate)
	if block == nil {
		return false
	}
	issued, err := x509.ParseCertificate(block.Bytes)
	return err == nil && now.After(issued.NotAfter)
}
