// Package resources lists every resource that the API server serves.
package resources

import (
	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/admissionregistration"
	"github.com/plumbline/plumbline/components/apiserver/resources/apps"
	"github.com/plumbline/plumbline/components/apiserver/resources/authentication"
	"github.com/plumbline/plumbline/components/apiserver/resources/authorization"
	"github.com/plumbline/plumbline/components/apiserver/resources/autoscaling"
	"github.com/plumbline/plumbline/components/apiserver/resources/batch"
	"github.com/plumbline/plumbline/components/apiserver/resources/certificates"
	"github.com/plumbline/plumbline/components/apiserver/resources/coordination"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/discovery"
	"github.com/plumbline/plumbline/components/apiserver/resources/dra"
	"github.com/plumbline/plumbline/components/apiserver/resources/flowcontrol"
	"github.com/plumbline/plumbline/components/apiserver/resources/networking"
	"github.com/plumbline/plumbline/components/apiserver/resources/node"
	"github.com/plumbline/plumbline/components/apiserver/resources/policy"
	"github.com/plumbline/plumbline/components/apiserver/resources/rbac"
	"github.com/plumbline/plumbline/components/apiserver/resources/scheduling"
	"github.com/plumbline/plumbline/components/apiserver/resources/storage"
	"github.com/plumbline/plumbline/components/apiserver/resources/storagemigration"
)

// All lists the resources in the order in which their groups are preferred. Adding
// a resource is one file and one line here.
func All() []resource.Entry {
	return withProvisional([]resource.Entry{
		pod.Pods(),
		rbac.Roles(),
		rbac.RoleBindings(),
		rbac.ClusterRoles(),
		rbac.ClusterRoleBindings(),
		apps.Deployments(),
		apps.ReplicaSets(),
		apps.StatefulSets(),
		apps.DaemonSets(),
		apps.ControllerRevisions(),
		batch.Jobs(),
		batch.CronJobs(),
		policy.PodDisruptionBudgets(),
		authentication.SelfSubjectReviews(),
		authentication.TokenReviews(),
		authorization.LocalSubjectAccessReviews(),
		authorization.SelfSubjectAccessReviews(),
		authorization.SelfSubjectRulesReviews(),
		authorization.SubjectAccessReviews(),
		autoscaling.HorizontalPodAutoscalers(),
		certificates.CertificateSigningRequests(),
		certificates.ClusterTrustBundles(),
		certificates.PodCertificateRequests(),
		coordination.Leases(),
		discovery.EndpointSlices(),
		networking.NetworkPolicies(),
		networking.Ingresses(),
		networking.IngressClasses(),
		networking.IPAddresses(),
		networking.ServiceCIDRs(),
		node.RuntimeClasses(),
		scheduling.PriorityClasses(),
		storage.StorageClasses(),
		storage.VolumeAttributesClasses(),
		storage.VolumeAttachments(),
		storage.CSIDrivers(),
		storage.CSINodes(),
		storage.CSIStorageCapacities(),
		flowcontrol.FlowSchemas(),
		flowcontrol.PriorityLevelConfigurations(),
		admissionregistration.ValidatingWebhookConfigurations(),
		admissionregistration.MutatingWebhookConfigurations(),
		admissionregistration.ValidatingAdmissionPolicies(),
		admissionregistration.ValidatingAdmissionPolicyBindings(),
		admissionregistration.MutatingAdmissionPolicies(),
		admissionregistration.MutatingAdmissionPolicyBindings(),
		dra.DeviceClasses(),
		dra.DeviceTaintRules(),
		dra.ResourceClaims(),
		dra.ResourceClaimTemplates(),
		dra.ResourceSlices(),
		storagemigration.StorageVersionMigrations(),
	})
}
