package apiserver

import (
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

// newAdmission builds the admission chain.
func (s *server) newAdmission() error {
	opts := options.NewAdmissionOptions()
	opts.RecommendedPluginOrder = []string{
		lifecycle.PluginName, mutatingadmissionpolicy.PluginName, mutatingwebhook.PluginName,
		validatingadmissionpolicy.PluginName, validatingwebhook.PluginName,
	}
	opts.DisablePlugins = append(opts.DisablePlugins, mutatingadmissionpolicy.PluginName, mutatingwebhook.PluginName, validatingadmissionpolicy.PluginName, validatingwebhook.PluginName)
	return opts.ApplyTo(s.generic, s.informers, s.client, s.dynamic, utilfeature.DefaultFeatureGate, s.generic.EffectiveVersion)
}
