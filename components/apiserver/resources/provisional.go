package resources

import (
	"reflect"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// withProvisional adds, for each resource that has no file of its own yet, one that
// stores objects as they come.
func withProvisional(own []resource.Entry) []resource.Entry {
	have := map[schema.GroupResource]bool{}
	for _, e := range own {
		have[e.ID().GroupResource()] = true
		for _, gv := range e.ID().ServedAs {
			have[schema.GroupResource{Group: gv.Group, Resource: e.ID().Name}] = true
		}
	}
	for _, e := range provisional() {
		if !have[e.ID().GroupResource()] {
			own = append(own, e)
		}
	}
	return own
}

type shape struct {
	name, key string
	cluster   bool
}

func plain[T resource.Object](gv schema.GroupVersion, obj T, list runtime.Object, s shape) resource.Entry {
	t := reflect.TypeOf(obj).Elem()
	d := &resource.Definition[T]{
		Identity:      resource.Identity{GroupVersion: gv, Kind: t.Name(), Name: s.name, Singular: strings.ToLower(t.Name()), ClusterScoped: s.cluster},
		New:           func() T { return reflect.New(t).Interface().(T) },
		NewList:       func() runtime.Object { return reflect.New(reflect.TypeOf(list).Elem()).Interface().(runtime.Object) },
		NameValidator: func(name string, prefix bool) []string { return nil },
		StorageKey:    s.key,
	}
	_ = validation.NameIsDNSSubdomain
	if _, ok := t.FieldByName("Spec"); ok {
		d.Spec = func(o T) any { return reflect.ValueOf(o).Elem().FieldByName("Spec").Addr().Interface() }
		d.TracksGeneration = true
	}
	if _, ok := t.FieldByName("Status"); ok {
		d.Status = func(o T) any { return reflect.ValueOf(o).Elem().FieldByName("Status").Addr().Interface() }
	}
	return d
}

func provisional() []resource.Entry {
	core, apps := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion
	return []resource.Entry{
		plain(core, &corev1.Namespace{}, &corev1.NamespaceList{}, shape{name: "namespaces", cluster: true}),
		plain(core, &corev1.ConfigMap{}, &corev1.ConfigMapList{}, shape{name: "configmaps"}),
		plain(core, &corev1.Secret{}, &corev1.SecretList{}, shape{name: "secrets"}),
		plain(core, &corev1.Node{}, &corev1.NodeList{}, shape{name: "nodes", key: "minions", cluster: true}),
		plain(core, &corev1.Pod{}, &corev1.PodList{}, shape{name: "pods"}),
		plain(core, &corev1.Service{}, &corev1.ServiceList{}, shape{name: "services", key: "services/specs"}),
		plain(core, &corev1.Endpoints{}, &corev1.EndpointsList{}, shape{name: "endpoints", key: "services/endpoints"}),
		plain(core, &corev1.ServiceAccount{}, &corev1.ServiceAccountList{}, shape{name: "serviceaccounts"}),
		plain(core, &corev1.Event{}, &corev1.EventList{}, shape{name: "events"}),
		plain(core, &corev1.PersistentVolume{}, &corev1.PersistentVolumeList{}, shape{name: "persistentvolumes", cluster: true}),
		plain(core, &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolumeClaimList{}, shape{name: "persistentvolumeclaims"}),
		plain(core, &corev1.ReplicationController{}, &corev1.ReplicationControllerList{}, shape{name: "replicationcontrollers", key: "controllers"}),
		plain(core, &corev1.ResourceQuota{}, &corev1.ResourceQuotaList{}, shape{name: "resourcequotas"}),
		plain(core, &corev1.LimitRange{}, &corev1.LimitRangeList{}, shape{name: "limitranges"}),
		plain(core, &corev1.PodTemplate{}, &corev1.PodTemplateList{}, shape{name: "podtemplates"}),
		plain(apps, &appsv1.Deployment{}, &appsv1.DeploymentList{}, shape{name: "deployments"}),
		plain(apps, &appsv1.ReplicaSet{}, &appsv1.ReplicaSetList{}, shape{name: "replicasets"}),
		plain(apps, &appsv1.StatefulSet{}, &appsv1.StatefulSetList{}, shape{name: "statefulsets"}),
		plain(apps, &appsv1.DaemonSet{}, &appsv1.DaemonSetList{}, shape{name: "daemonsets"}),
		plain(apps, &appsv1.ControllerRevision{}, &appsv1.ControllerRevisionList{}, shape{name: "controllerrevisions"}),
		plain(batchv1.SchemeGroupVersion, &batchv1.Job{}, &batchv1.JobList{}, shape{name: "jobs"}),
		plain(batchv1.SchemeGroupVersion, &batchv1.CronJob{}, &batchv1.CronJobList{}, shape{name: "cronjobs"}),
		plain(autoscalingv2.SchemeGroupVersion, &autoscalingv2.HorizontalPodAutoscaler{}, &autoscalingv2.HorizontalPodAutoscalerList{}, shape{name: "horizontalpodautoscalers"}),
		plain(coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{}, &coordinationv1.LeaseList{}, shape{name: "leases"}),
		plain(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{}, shape{name: "endpointslices"}),
		plain(policyv1.SchemeGroupVersion, &policyv1.PodDisruptionBudget{}, &policyv1.PodDisruptionBudgetList{}, shape{name: "poddisruptionbudgets"}),
		plain(rbacv1.SchemeGroupVersion, &rbacv1.Role{}, &rbacv1.RoleList{}, shape{name: "roles"}),
		plain(rbacv1.SchemeGroupVersion, &rbacv1.RoleBinding{}, &rbacv1.RoleBindingList{}, shape{name: "rolebindings"}),
		plain(rbacv1.SchemeGroupVersion, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleList{}, shape{name: "clusterroles", cluster: true}),
		plain(rbacv1.SchemeGroupVersion, &rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{}, shape{name: "clusterrolebindings", cluster: true}),
		plain(schedulingv1.SchemeGroupVersion, &schedulingv1.PriorityClass{}, &schedulingv1.PriorityClassList{}, shape{name: "priorityclasses", cluster: true}),
		plain(nodev1.SchemeGroupVersion, &nodev1.RuntimeClass{}, &nodev1.RuntimeClassList{}, shape{name: "runtimeclasses", cluster: true}),
		plain(storagev1.SchemeGroupVersion, &storagev1.StorageClass{}, &storagev1.StorageClassList{}, shape{name: "storageclasses", cluster: true}),
		plain(storagev1.SchemeGroupVersion, &storagev1.CSINode{}, &storagev1.CSINodeList{}, shape{name: "csinodes", cluster: true}),
		plain(storagev1.SchemeGroupVersion, &storagev1.CSIDriver{}, &storagev1.CSIDriverList{}, shape{name: "csidrivers", cluster: true}),
		plain(storagev1.SchemeGroupVersion, &storagev1.VolumeAttachment{}, &storagev1.VolumeAttachmentList{}, shape{name: "volumeattachments", cluster: true}),
		plain(storagev1.SchemeGroupVersion, &storagev1.CSIStorageCapacity{}, &storagev1.CSIStorageCapacityList{}, shape{name: "csistoragecapacities"}),
		plain(certificatesv1.SchemeGroupVersion, &certificatesv1.CertificateSigningRequest{}, &certificatesv1.CertificateSigningRequestList{}, shape{name: "certificatesigningrequests", cluster: true}),
		plain(networkingv1.SchemeGroupVersion, &networkingv1.NetworkPolicy{}, &networkingv1.NetworkPolicyList{}, shape{name: "networkpolicies"}),
		plain(networkingv1.SchemeGroupVersion, &networkingv1.Ingress{}, &networkingv1.IngressList{}, shape{name: "ingresses", key: "ingress"}),
		plain(networkingv1.SchemeGroupVersion, &networkingv1.IngressClass{}, &networkingv1.IngressClassList{}, shape{name: "ingressclasses", cluster: true}),
		plain(networkingv1.SchemeGroupVersion, &networkingv1.ServiceCIDR{}, &networkingv1.ServiceCIDRList{}, shape{name: "servicecidrs", cluster: true}),
		plain(networkingv1.SchemeGroupVersion, &networkingv1.IPAddress{}, &networkingv1.IPAddressList{}, shape{name: "ipaddresses", cluster: true}),
		plain(flowcontrolv1.SchemeGroupVersion, &flowcontrolv1.FlowSchema{}, &flowcontrolv1.FlowSchemaList{}, shape{name: "flowschemas", cluster: true}),
		plain(flowcontrolv1.SchemeGroupVersion, &flowcontrolv1.PriorityLevelConfiguration{}, &flowcontrolv1.PriorityLevelConfigurationList{}, shape{name: "prioritylevelconfigurations", cluster: true}),
		plain(admissionregistrationv1.SchemeGroupVersion, &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.MutatingWebhookConfigurationList{}, shape{name: "mutatingwebhookconfigurations", cluster: true}),
		plain(admissionregistrationv1.SchemeGroupVersion, &admissionregistrationv1.ValidatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfigurationList{}, shape{name: "validatingwebhookconfigurations", cluster: true}),
		plain(admissionregistrationv1.SchemeGroupVersion, &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyList{}, shape{name: "validatingadmissionpolicies", cluster: true}),
		plain(admissionregistrationv1.SchemeGroupVersion, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}, &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{}, shape{name: "validatingadmissionpolicybindings", cluster: true}),
		plain(admissionregistrationv1.SchemeGroupVersion, &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyList{}, shape{name: "mutatingadmissionpolicies", cluster: true}),
		plain(admissionregistrationv1.SchemeGroupVersion, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}, &admissionregistrationv1.MutatingAdmissionPolicyBindingList{}, shape{name: "mutatingadmissionpolicybindings", cluster: true}),
		plain(resourcev1.SchemeGroupVersion, &resourcev1.ResourceClaim{}, &resourcev1.ResourceClaimList{}, shape{name: "resourceclaims"}),
		plain(resourcev1.SchemeGroupVersion, &resourcev1.ResourceClaimTemplate{}, &resourcev1.ResourceClaimTemplateList{}, shape{name: "resourceclaimtemplates"}),
		plain(resourcev1.SchemeGroupVersion, &resourcev1.DeviceClass{}, &resourcev1.DeviceClassList{}, shape{name: "deviceclasses", cluster: true}),
		plain(resourcev1.SchemeGroupVersion, &resourcev1.ResourceSlice{}, &resourcev1.ResourceSliceList{}, shape{name: "resourceslices", cluster: true}),
	}
}
