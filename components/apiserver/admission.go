package apiserver

import (
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"

	"github.com/plumbline/plumbline/components/apiserver/admission/certificates"
	"github.com/plumbline/plumbline/components/apiserver/admission/claimresize"
	"github.com/plumbline/plumbline/components/apiserver/admission/defaultclass"
	"github.com/plumbline/plumbline/components/apiserver/admission/limitranger"
	"github.com/plumbline/plumbline/components/apiserver/admission/noderestriction"
	"github.com/plumbline/plumbline/components/apiserver/admission/nodetaint"
	"github.com/plumbline/plumbline/components/apiserver/admission/podresize"
	"github.com/plumbline/plumbline/components/apiserver/admission/podsecurity"
	"github.com/plumbline/plumbline/components/apiserver/admission/priority"
	"github.com/plumbline/plumbline/components/apiserver/admission/protection"
	"github.com/plumbline/plumbline/components/apiserver/admission/quota"
	"github.com/plumbline/plumbline/components/apiserver/admission/runtimeclass"
	"github.com/plumbline/plumbline/components/apiserver/admission/serviceaccount"
	"github.com/plumbline/plumbline/components/apiserver/admission/tolerationseconds"
	"github.com/plumbline/plumbline/components/apiserver/admission/topologylabels"
	"github.com/plumbline/plumbline/components/apiserver/authorization/node"
	"github.com/plumbline/plumbline/components/apiserver/inprocess"
)

// plugin is one link of the admission chain.
type plugin struct {
	name string
	// off says that it must be asked for.
	off  bool
	make func(configuration io.Reader) (admission.Interface, error)
}

// ready wraps a plugin that needs no configuration.
func ready(p admission.Interface) func(io.Reader) (admission.Interface, error) {
	return func(io.Reader) (admission.Interface, error) { return p, nil }
}

// plugins are all links that are ours, in upstream's order; the library's NamespaceLifecycle stands
// before them, its policies and webhooks behind.
func (s *server) plugins() []plugin {
	authorizer := s.generic.Authorization.Authorizer
	accounts := corev1.Resource("serviceaccounts")
	nodes := inprocess.Getter[*corev1.Node](s.direct, corev1.Resource("nodes"))
	classes := priority.Classes{
		Get:  inprocess.Getter[*schedulingv1.PriorityClass](s.direct, schedulingv1.Resource("priorityclasses")),
		List: inprocess.Lister[*schedulingv1.PriorityClass](s.direct, schedulingv1.Resource("priorityclasses")),
	}
	return []plugin{
		{name: limitranger.Name, make: ready(limitranger.New(inprocess.Lister[*corev1.LimitRange](s.direct, corev1.Resource("limitranges"))))},
		{name: serviceaccount.Name, make: ready(serviceaccount.New(
			inprocess.Getter[*corev1.ServiceAccount](s.direct, accounts), inprocess.Awaiter[*corev1.ServiceAccount](s.direct, accounts)))},
		{name: noderestriction.Name, off: true, make: ready(noderestriction.New(noderestriction.Objects{
			Pod:     inprocess.Getter[*corev1.Pod](s.direct, corev1.Resource("pods")),
			Node:    nodes,
			Account: inprocess.Getter[*corev1.ServiceAccount](s.direct, accounts),
			NodeOf:  node.NameOf,
		}))},
		{name: nodetaint.Name, make: ready(nodetaint.New())},
		{name: podsecurity.Name, make: func(configuration io.Reader) (admission.Interface, error) {
			return podsecurity.New(podsecurity.Objects{
				Namespace: inprocess.Getter[*corev1.Namespace](s.direct, corev1.Resource("namespaces")),
				Pods:      inprocess.Lister[*corev1.Pod](s.direct, corev1.Resource("pods")),
			}, configuration)
		}},
		{name: priority.Name, make: ready(priority.New(classes))},
		{name: tolerationseconds.Name, make: ready(tolerationseconds.New(s.config.Admission.NotReadySeconds, s.config.Admission.UnreachableSeconds))},
		{name: protection.StorageName, make: ready(protection.NewStorage())},
		{name: protection.PodGroupName, make: ready(protection.NewPodGroup())},
		{name: claimresize.Name, make: ready(claimresize.New(inprocess.Getter[*storagev1.StorageClass](s.direct, storagev1.Resource("storageclasses"))))},
		{name: runtimeclass.Name, make: ready(runtimeclass.New(inprocess.Getter[*nodev1.RuntimeClass](s.direct, nodev1.Resource("runtimeclasses"))))},
		{name: podresize.Name, make: ready(podresize.New(nodes))},
		{name: certificates.ApprovalName, make: ready(certificates.NewApproval(authorizer))},
		{name: certificates.SigningName, make: ready(certificates.NewSigning(authorizer))},
		{name: certificates.AttestName, make: ready(certificates.NewAttest(authorizer))},
		{name: certificates.SubjectName, make: ready(certificates.NewSubject())},
		{name: defaultclass.StorageName, make: ready(defaultclass.NewStorage(inprocess.Lister[*storagev1.StorageClass](s.direct, storagev1.Resource("storageclasses"))))},
		{name: defaultclass.IngressName, make: ready(defaultclass.NewIngress(inprocess.Lister[*networkingv1.IngressClass](s.direct, networkingv1.Resource("ingressclasses"))))},
		{name: topologylabels.Name, make: ready(topologylabels.New(nodes))},
	}
}

// newAdmission builds the admission chain.
func (s *server) newAdmission() error {
	opts := options.NewAdmissionOptions()
	order := []string{lifecycle.PluginName}
	for _, p := range s.plugins() {
		opts.Plugins.Register(p.name, p.make)
		order = append(order, p.name)
		if p.off {
			opts.DefaultOffPlugins.Insert(p.name)
		}
	}
	resourcequota.Register(opts.Plugins)
	// Quota comes last: what another refuses must not be charged.
	opts.RecommendedPluginOrder = append(order, mutatingadmissionpolicy.PluginName, mutatingwebhook.PluginName,
		validatingadmissionpolicy.PluginName, validatingwebhook.PluginName, resourcequota.PluginName)
	opts.EnablePlugins, opts.DisablePlugins, opts.ConfigFile = s.config.Admission.Enable, s.config.Admission.Disable, s.config.Admission.ConfigFile
	if errs := opts.Validate(); len(errs) > 0 {
		return fmt.Errorf("admission: %w", errs[0])
	}
	resolver, err := s.serviceResolver()
	if err != nil {
		return err
	}
	wrapper := webhook.NewDefaultAuthenticationInfoResolverWrapper(s.proxied, s.generic.EgressSelector, s.generic.LoopbackClientConfig, s.generic.TracerProvider)
	webhooks := webhookinit.NewPluginInitializer(wrapper, resolver)
	return opts.ApplyTo(s.generic, s.informers, s.client, s.dynamic, utilfeature.DefaultFeatureGate, s.generic.EffectiveVersion, webhooks, quotas{})
}

// quotas tells the library's quota plugin how objects are measured.
type quotas struct{}

func (quotas) Initialize(p admission.Interface) {
	if wants, ok := p.(interface {
		SetQuotaConfiguration(quotav1.Configuration)
	}); ok {
		wants.SetQuotaConfiguration(quota.Configuration())
	}
}
