package controllers

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumbline/plumbline/components/controllers/bootstrap"
	"github.com/plumbline/plumbline/components/controllers/certificates"
	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/cronjob"
	"github.com/plumbline/plumbline/components/controllers/daemonset"
	"github.com/plumbline/plumbline/components/controllers/deployment"
	"github.com/plumbline/plumbline/components/controllers/disruption"
	"github.com/plumbline/plumbline/components/controllers/endpoints"
	"github.com/plumbline/plumbline/components/controllers/endpointslice"
	"github.com/plumbline/plumbline/components/controllers/endpointslicemirroring"
	"github.com/plumbline/plumbline/components/controllers/ephemeralvolume"
	"github.com/plumbline/plumbline/components/controllers/garbagecollector"
	"github.com/plumbline/plumbline/components/controllers/job"
	"github.com/plumbline/plumbline/components/controllers/namespace"
	"github.com/plumbline/plumbline/components/controllers/nodeipam"
	"github.com/plumbline/plumbline/components/controllers/nodelifecycle"
	"github.com/plumbline/plumbline/components/controllers/persistentvolume"
	"github.com/plumbline/plumbline/components/controllers/podgc"
	"github.com/plumbline/plumbline/components/controllers/protection"
	"github.com/plumbline/plumbline/components/controllers/replicaset"
	"github.com/plumbline/plumbline/components/controllers/replicationcontroller"
	"github.com/plumbline/plumbline/components/controllers/resourceclaim"
	"github.com/plumbline/plumbline/components/controllers/resourcequota"
	"github.com/plumbline/plumbline/components/controllers/roleaggregation"
	"github.com/plumbline/plumbline/components/controllers/rootca"
	"github.com/plumbline/plumbline/components/controllers/serviceaccount"
	"github.com/plumbline/plumbline/components/controllers/servicecidr"
	"github.com/plumbline/plumbline/components/controllers/statefulset"
	"github.com/plumbline/plumbline/components/controllers/tainteviction"
	"github.com/plumbline/plumbline/components/controllers/ttlafterfinished"
)

// entry is one controller of the catalogue.
type entry struct {
	// name and alias are what --controllers calls it.
	name, alias string
	// account is the service account in kube-system that it acts as, which RBAC's bootstrap roles are bound to.
	account string
	// source is the component named in its events.
	source string
	// build makes it; nil without an error means that the configuration leaves it nothing to do.
	build func(env *controller.Env, config *Config) (controller.Controller, error)
}

// catalogue lists every controller there is.
func catalogue() []entry {
	return []entry{
		{"node-ipam-controller", "nodeipam", "node-controller", "cidrAllocator", buildNodeIPAM},
		{"serviceaccount-controller", "serviceaccount", "service-account-controller", "serviceaccount-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return serviceaccount.New(env, config.Workers["serviceaccount"])
		}},
		{"root-ca-certificate-publisher-controller", "root-ca-cert-publisher", "root-ca-cert-publisher", "root-ca-cert-publisher", buildRootCA},
		{"replicaset-controller", "replicaset", "replicaset-controller", "replicaset-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return replicaset.New(env, config.Workers["replicaset"])
		}},
		{"deployment-controller", "deployment", "deployment-controller", "deployment-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return deployment.New(env, config.Workers["deployment"])
		}},
		{"endpointslice-controller", "endpointslice", "endpointslice-controller", "endpoint-slice-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return endpointslice.New(env, config.Workers["service-endpoint"], config.MaxEndpointsPerSlice)
		}},
		{"namespace-controller", "namespace", "namespace-controller", "namespace-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return namespace.New(env, config.Workers["namespace"])
		}},
		{"replicationcontroller-controller", "replicationcontroller", "replication-controller", "replication-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return replicationcontroller.New(env, config.Workers["rc"])
		}},
		{"garbage-collector-controller", "garbagecollector", "generic-garbage-collector", "garbage-collector-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			if !config.EnableGarbageCollector {
				return nil, nil
			}
			return garbagecollector.New(env, config.Workers["gc"])
		}},
		{"node-lifecycle-controller", "nodelifecycle", "node-controller", "node-controller", buildNodeLifecycle},
		{"taint-eviction-controller", "taint-eviction-controller", "node-controller", "taint-eviction-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return tainteviction.New(env)
		}},
		{"pod-garbage-collector-controller", "podgc", "pod-garbage-collector", "pod-garbage-collector-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return podgc.New(env, config.TerminatedPodGCThreshold)
		}},
		{"job-controller", "job", "job-controller", "job-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return job.New(env, config.Workers["job"])
		}},
		{"daemonset-controller", "daemonset", "daemon-set-controller", "daemonset-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return daemonset.New(env, config.Workers["daemonset"])
		}},
		{"statefulset-controller", "statefulset", "statefulset-controller", "statefulset-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return statefulset.New(env, config.Workers["statefulset"])
		}},
		{"cronjob-controller", "cronjob", "cronjob-controller", "cronjob-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return cronjob.New(env, config.Workers["cron-job"])
		}},
		{"endpoints-controller", "endpoint", "endpoint-controller", "endpoint-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return endpoints.New(env, config.Workers["endpoint"])
		}},
		{"endpointslice-mirroring-controller", "endpointslicemirroring", "endpointslicemirroring-controller", "endpoint-slice-mirroring-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return endpointslicemirroring.New(env, config.Workers["mirroring"], config.MirroringMaxPerSubset)
		}},
		{"persistentvolume-binder-controller", "persistentvolume-binder", "persistent-volume-binder", "persistentvolume-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return persistentvolume.New(env, config.Volumes)
		}},
		{"ephemeral-volume-controller", "ephemeral-volume", "ephemeral-volume-controller", "ephemeral_volume", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return ephemeralvolume.New(env, config.Workers["ephemeralvolume"])
		}},
		{"persistentvolumeclaim-protection-controller", "pvc-protection", "pvc-protection-controller", "persistentvolumeclaim-protection-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return protection.NewClaims(env)
		}},
		{"persistentvolume-protection-controller", "pv-protection", "pv-protection-controller", "persistentvolume-protection-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return protection.NewVolumes(env)
		}},
		{"volumeattributesclass-protection-controller", "volumeattributesclass-protection-controller", "volumeattributesclass-protection-controller", "volumeattributesclass-protection-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return protection.NewClasses(env)
		}},
		{"podgroup-protection-controller", "podgroup-protection-controller", "podgroup-protection-controller", "podgroup-protection-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			if !config.Features.Enabled(GenericWorkload) {
				return nil, nil
			}
			return protection.NewPodGroups(env)
		}},
		{"disruption-controller", "disruption", "disruption-controller", "controllermanager", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return disruption.New(env)
		}},
		{"resourcequota-controller", "resourcequota", "resourcequota-controller", "resourcequota-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return resourcequota.New(env, config.Workers["resource-quota"], config.ResourceQuotaSyncPeriod)
		}},
		{"resourceclaim-controller", "resource-claim-controller", "resource-claim-controller", "resource_claim", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return resourceclaim.New(env, config.Workers["resourceclaim"])
		}},
		{"certificatesigningrequest-approving-controller", "csrapproving", "certificate-controller", "certificate-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return certificates.NewApprover(env)
		}},
		{"certificatesigningrequest-signing-controller", "csrsigning", "certificate-controller", "certificate-controller", buildSigner},
		{"certificatesigningrequest-cleaner-controller", "csrcleaner", "certificate-controller", "certificate-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return certificates.NewCleaner(env)
		}},
		{"podcertificaterequest-cleaner-controller", "", "podcertificaterequestcleaner", "podcertificaterequestcleaner", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return certificates.NewPodRequestCleaner(env)
		}},
		{"clusterrole-aggregation-controller", "clusterrole-aggregation", "clusterrole-aggregation-controller", "clusterrole-aggregation-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return roleaggregation.New(env)
		}},
		{"service-cidr-controller", "service-cidr-controller", "service-cidrs-controller", "service-cidr-controller", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return servicecidr.New(env)
		}},
		{"ttl-after-finished-controller", "ttl-after-finished", "ttl-after-finished-controller", "ttl-after-finished-controller", func(env *controller.Env, config *Config) (controller.Controller, error) {
			return ttlafterfinished.New(env, config.Workers["ttl-after-finished"])
		}},
		{tokenCleaner, "tokencleaner", "token-cleaner", "token-cleaner", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return bootstrap.NewCleaner(env)
		}},
		{bootstrapSigner, "bootstrapsigner", "bootstrap-signer", "bootstrap-signer", func(env *controller.Env, _ *Config) (controller.Controller, error) {
			return bootstrap.NewSigner(env)
		}},
	}
}

// These run where --controllers names them; "*" leaves them out.
const (
	tokenCleaner    = "token-cleaner-controller"
	bootstrapSigner = "bootstrap-signer-controller"
)

// notProvided are upstream's controllers that this manager does not have. Leaving one out with -name is no mistake.
func notProvided() []string {
	return []string{
		"horizontal-pod-autoscaler-controller", "ttl-controller",
		"device-taint-eviction-controller", "persistentvolume-attach-detach-controller",
		"persistentvolume-expander-controller", "kube-apiserver-serving-clustertrustbundle-publisher-controller",
		"storageversion-garbage-collector-controller", "resourcepoolstatusrequest-controller",
		"legacy-serviceaccount-token-cleaner-controller", "validatingadmissionpolicy-status-controller",
		"storage-version-migrator-controller", "selinux-warning-controller", "serviceaccount-token-controller",
	}
}

func controllerNames() []string {
	var names []string
	for _, e := range catalogue() {
		names = append(names, e.name)
	}
	slices.Sort(names)
	return names
}

// canonicalName turns an alias into the name.
func canonicalName(name string) string {
	for _, e := range catalogue() {
		if e.alias == name {
			return e.name
		}
	}
	return name
}

// selected returns the controllers that --controllers asks for: a name decides over "*", and the first mention decides.
func selected(config *Config) []entry {
	on := func(name string) bool {
		for _, choice := range config.Controllers {
			switch {
			case choice == "*":
			case choice[0] == '-' && canonicalName(choice[1:]) == name:
				return false
			case canonicalName(choice) == name:
				return true
			}
		}
		return name != tokenCleaner && name != bootstrapSigner && slices.Contains(config.Controllers, "*")
	}
	var chosen []entry
	for _, e := range catalogue() {
		if on(e.name) {
			chosen = append(chosen, e)
		}
	}
	return chosen
}

func buildNodeIPAM(env *controller.Env, config *Config) (controller.Controller, error) {
	if !config.Nodes.AllocateCIDRs {
		return nil, nil
	}
	var ipam nodeipam.Config
	for _, text := range config.Nodes.ClusterCIDRs {
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--cluster-cidr: %w", err)
		}
		ipam.ClusterCIDRs = append(ipam.ClusterCIDRs, cidr)
		ipam.MaskSizes = append(ipam.MaskSizes, maskSize(config.Nodes, cidr))
	}
	for _, text := range config.Nodes.ServiceCIDRs {
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--service-cluster-ip-range: %w", err)
		}
		ipam.ServiceCIDRs = append(ipam.ServiceCIDRs, cidr)
	}
	return nodeipam.New(env, ipam)
}

func buildNodeLifecycle(env *controller.Env, config *Config) (controller.Controller, error) {
	n := config.Nodes
	return nodelifecycle.New(env, nodelifecycle.Config{
		MonitorPeriod:      n.MonitorPeriod,
		GracePeriod:        n.MonitorGracePeriod,
		StartupGracePeriod: n.StartupGracePeriod,
		Eviction:           nodelifecycle.EvictionRates{Normal: n.EvictionRate, Reduced: n.SecondaryEvictionRate, LargeZone: n.LargeClusterThreshold, Threshold: n.UnhealthyThreshold},
	})
}

// buildSigner signs nothing where it has no key pair to sign with.
func buildSigner(env *controller.Env, config *Config) (controller.Controller, error) {
	if config.Signing.CertFile == "" {
		return nil, nil
	}
	authority, err := certificates.LoadAuthority(config.Signing.CertFile, config.Signing.KeyFile, config.Signing.Duration, env.Clock)
	if err != nil {
		return nil, fmt.Errorf("--cluster-signing-cert-file, --cluster-signing-key-file: %w", err)
	}
	return certificates.NewSigner(env, authority)
}

func maskSize(nodes NodesConfig, cidr netip.Prefix) int {
	family, fallback := nodes.MaskSizeIPv4, 24
	if cidr.Addr().Is6() {
		family, fallback = nodes.MaskSizeIPv6, 64
	}
	switch {
	case family != 0:
		return family
	case nodes.MaskSize != 0:
		return nodes.MaskSize
	}
	return fallback
}

// buildRootCA publishes --root-ca-file or, without one, the CA by which the manager itself trusts the API server.
func buildRootCA(env *controller.Env, config *Config) (controller.Controller, error) {
	if config.RootCAFile != "" {
		bundle, err := os.ReadFile(config.RootCAFile)
		if err != nil {
			return nil, fmt.Errorf("--root-ca-file: %w", err)
		}
		return rootca.New(env, bundle)
	}
	own, err := clientcmd.BuildConfigFromFlags(config.Master, config.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	bundle := own.CAData
	if len(bundle) == 0 && own.CAFile != "" {
		if bundle, err = os.ReadFile(own.CAFile); err != nil {
			return nil, fmt.Errorf("--root-ca-file is not given, and the kubeconfig's CA cannot be read: %w", err)
		}
	}
	if len(bundle) == 0 {
		return nil, nil
	}
	return rootca.New(env, bundle)
}
