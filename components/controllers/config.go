package controllers

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/component-base/featuregate"

	"github.com/plumbline/plumbline/components/controllers/persistentvolume"
	"github.com/plumbline/plumbline/components/serving"
)

// Config is everything the controller manager can be told. Flags carry upstream's names.
// https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/
type Config struct {
	Kubeconfig string
	Master     string
	// Controllers selects control loops: names, "*" for all that are on by default, "-name" to leave one out.
	Controllers                  []string
	UseServiceAccountCredentials bool

	Serving  serving.Options
	Election ElectionConfig
	Nodes    NodesConfig
	Signing  SigningConfig
	Volumes  persistentvolume.Config

	// RootCAFile is what kube-root-ca.crt is published from; without it the kubeconfig's CA is.
	RootCAFile string
	// TerminatedPodGCThreshold is how many ended pods may exist before the oldest are deleted; 0 or less: any number.
	TerminatedPodGCThreshold int
	MaxEndpointsPerSlice     int32
	MirroringMaxPerSubset    int32
	EnableGarbageCollector   bool
	NamespaceSyncPeriod      time.Duration
	ResourceQuotaSyncPeriod  time.Duration

	// Workers is the number of keys a controller works on at the same time, by --concurrent-NAME-syncs.
	Workers map[string]int

	// Features are the feature gates that can be set.
	Features featuregate.MutableFeatureGate
}

// GenericWorkload protects pod groups that are in use (beta, off by default). Kubernetes' other gates are as they are by
// default.
const GenericWorkload featuregate.Feature = "GenericWorkload"

// ElectionConfig is leader election by a Lease.
type ElectionConfig struct {
	Enabled       bool
	LeaseDuration time.Duration
	RenewDeadline time.Duration
	RetryPeriod   time.Duration
	Namespace     string
	Name          string
}

// NodesConfig configures node IPAM and node health.
type NodesConfig struct {
	AllocateCIDRs         bool
	ClusterCIDRs          []string
	ServiceCIDRs          []string
	MaskSize              int
	MaskSizeIPv4          int
	MaskSizeIPv6          int
	MonitorPeriod         time.Duration
	MonitorGracePeriod    time.Duration
	StartupGracePeriod    time.Duration
	EvictionRate          float32
	SecondaryEvictionRate float32
	LargeClusterThreshold int
	UnhealthyThreshold    float32
}

// SigningConfig is the key pair that signs certificate signing requests; without it none is signed.
type SigningConfig struct {
	CertFile string
	KeyFile  string
	Duration time.Duration
}

// workerDefaults is the default of each --concurrent-NAME-syncs flag.
func workerDefaults() map[string]int {
	return map[string]int{
		"deployment": 5, "replicaset": 5, "rc": 5, "statefulset": 5, "daemonset": 2, "job": 5, "cron-job": 5,
		"namespace": 10, "endpoint": 5, "service-endpoint": 5, "mirroring": 5, "gc": 20, "resource-quota": 5, "resourceclaim": 50,
		"serviceaccount": 5, "ttl-after-finished": 5, "ephemeralvolume": 5,
	}
}

// DefaultConfig is upstream's defaults.
func DefaultConfig() (*Config, error) {
	features := featuregate.NewFeatureGate()
	if err := features.Add(map[featuregate.Feature]featuregate.FeatureSpec{GenericWorkload: {PreRelease: featuregate.Beta}}); err != nil {
		return nil, err
	}
	return &Config{
		Controllers:              []string{"*"},
		Serving:                  serving.Defaults(10257),
		Election:                 ElectionConfig{Enabled: true, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, Namespace: "kube-system", Name: "kube-controller-manager"},
		Nodes:                    NodesConfig{MonitorPeriod: 5 * time.Second, MonitorGracePeriod: 50 * time.Second, StartupGracePeriod: time.Minute, EvictionRate: 0.1, SecondaryEvictionRate: 0.01, LargeClusterThreshold: 50, UnhealthyThreshold: 0.55},
		Signing:                  SigningConfig{Duration: 365 * 24 * time.Hour},
		Volumes:                  persistentvolume.Config{SyncPeriod: 15 * time.Second, DynamicProvisioning: true},
		TerminatedPodGCThreshold: 12500,
		MaxEndpointsPerSlice:     100,
		MirroringMaxPerSubset:    1000,
		EnableGarbageCollector:   true,
		NamespaceSyncPeriod:      5 * time.Minute,
		ResourceQuotaSyncPeriod:  5 * time.Minute,
		Workers:                  workerDefaults(),
		Features:                 features,
	}, nil
}

// AddFlags binds the configuration to flags.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.Kubeconfig, "kubeconfig", c.Kubeconfig, "Path to the kubeconfig file with the credentials and the address of the API server.")
	fs.StringVar(&c.Master, "master", c.Master, "Address of the API server; overrides the kubeconfig's.")
	fs.StringSliceVar(&c.Controllers, "controllers", c.Controllers, "Controllers to run: '*' is all that are on by default, 'foo' adds foo, '-foo' leaves it out. Names: "+strings.Join(controllerNames(), ", "))
	fs.BoolVar(&c.UseServiceAccountCredentials, "use-service-account-credentials", c.UseServiceAccountCredentials, "Run each controller with the token of its own service account in kube-system.")

	c.Serving.AddFlags(fs)
	c.Features.AddFlag(fs)

	fs.BoolVar(&c.Election.Enabled, "leader-elect", c.Election.Enabled, "Work only while holding the manager's Lease.")
	fs.DurationVar(&c.Election.LeaseDuration, "leader-elect-lease-duration", c.Election.LeaseDuration, "How long others wait for a silent leader.")
	fs.DurationVar(&c.Election.RenewDeadline, "leader-elect-renew-deadline", c.Election.RenewDeadline, "How long the leader tries to renew before it gives up.")
	fs.DurationVar(&c.Election.RetryPeriod, "leader-elect-retry-period", c.Election.RetryPeriod, "Time between two attempts.")
	fs.StringVar(&c.Election.Namespace, "leader-elect-resource-namespace", c.Election.Namespace, "Namespace of the Lease.")
	fs.StringVar(&c.Election.Name, "leader-elect-resource-name", c.Election.Name, "Name of the Lease.")

	fs.BoolVar(&c.Nodes.AllocateCIDRs, "allocate-node-cidrs", c.Nodes.AllocateCIDRs, "Give each node a part of --cluster-cidr.")
	fs.StringSliceVar(&c.Nodes.ClusterCIDRs, "cluster-cidr", c.Nodes.ClusterCIDRs, "CIDRs of the pods, one per IP family.")
	fs.StringSliceVar(&c.Nodes.ServiceCIDRs, "service-cluster-ip-range", c.Nodes.ServiceCIDRs, "CIDRs of the Services; kept out of what nodes get.")
	fs.IntVar(&c.Nodes.MaskSize, "node-cidr-mask-size", c.Nodes.MaskSize, "Prefix length of a node's CIDR (default 24, IPv6 64).")
	fs.IntVar(&c.Nodes.MaskSizeIPv4, "node-cidr-mask-size-ipv4", c.Nodes.MaskSizeIPv4, "Prefix length of a node's IPv4 CIDR in a dual-stack cluster (default 24).")
	fs.IntVar(&c.Nodes.MaskSizeIPv6, "node-cidr-mask-size-ipv6", c.Nodes.MaskSizeIPv6, "Prefix length of a node's IPv6 CIDR in a dual-stack cluster (default 64).")
	fs.DurationVar(&c.Nodes.MonitorPeriod, "node-monitor-period", c.Nodes.MonitorPeriod, "Time between two looks at all nodes' heartbeats.")
	fs.DurationVar(&c.Nodes.MonitorGracePeriod, "node-monitor-grace-period", c.Nodes.MonitorGracePeriod, "How long a node may be silent before its Ready condition becomes Unknown.")
	fs.DurationVar(&c.Nodes.StartupGracePeriod, "node-startup-grace-period", c.Nodes.StartupGracePeriod, "How long a new node may be silent.")
	fs.Float32Var(&c.Nodes.EvictionRate, "node-eviction-rate", c.Nodes.EvictionRate, "Nodes per second that get a NoExecute taint while their zone is healthy.")
	fs.Float32Var(&c.Nodes.SecondaryEvictionRate, "secondary-node-eviction-rate", c.Nodes.SecondaryEvictionRate, "The same in a large zone that is partly down.")
	fs.IntVar(&c.Nodes.LargeClusterThreshold, "large-cluster-size-threshold", c.Nodes.LargeClusterThreshold, "Nodes from which a zone is large.")
	fs.Float32Var(&c.Nodes.UnhealthyThreshold, "unhealthy-zone-threshold", c.Nodes.UnhealthyThreshold, "Fraction of nodes down from which a zone is partly down.")

	fs.StringVar(&c.Signing.CertFile, "cluster-signing-cert-file", c.Signing.CertFile, "CA certificate that signs certificate signing requests.")
	fs.StringVar(&c.Signing.KeyFile, "cluster-signing-key-file", c.Signing.KeyFile, "Key of --cluster-signing-cert-file.")
	fs.DurationVar(&c.Signing.Duration, "cluster-signing-duration", c.Signing.Duration, "Longest life of a signed certificate.")

	fs.DurationVar(&c.Volumes.SyncPeriod, "pvclaimbinder-sync-period", c.Volumes.SyncPeriod, "Time between two looks at all claims and volumes that are not bound.")
	fs.BoolVar(&c.Volumes.DynamicProvisioning, "enable-dynamic-provisioning", c.Volumes.DynamicProvisioning, "Ask the provisioners that storage classes name for volumes.")

	fs.StringVar(&c.RootCAFile, "root-ca-file", c.RootCAFile, "CA certificate published to every namespace as kube-root-ca.crt.")
	fs.IntVar(&c.TerminatedPodGCThreshold, "terminated-pod-gc-threshold", c.TerminatedPodGCThreshold, "Ended pods that may exist before the oldest are deleted; 0 or less: any number.")
	fs.Int32Var(&c.MaxEndpointsPerSlice, "max-endpoints-per-slice", c.MaxEndpointsPerSlice, "Endpoints in one EndpointSlice at most.")
	fs.Int32Var(&c.MirroringMaxPerSubset, "mirroring-max-endpoints-per-subset", c.MirroringMaxPerSubset, "Addresses of one Endpoints subset that are mirrored at most.")
	fs.BoolVar(&c.EnableGarbageCollector, "enable-garbage-collector", c.EnableGarbageCollector, "Delete objects whose owners are gone.")
	fs.DurationVar(&c.NamespaceSyncPeriod, "namespace-sync-period", c.NamespaceSyncPeriod, "Time between two looks at all namespaces.")
	fs.DurationVar(&c.ResourceQuotaSyncPeriod, "resource-quota-sync-period", c.ResourceQuotaSyncPeriod, "Time between two full counts of all quotas.")
	for name := range c.Workers {
		fs.Var(workerFlag{c.Workers, name}, "concurrent-"+name+"-syncs", "Keys of this kind worked on at the same time.")
	}
}

// workerFlag is one entry of Config.Workers as a flag.
type workerFlag struct {
	workers map[string]int
	name    string
}

func (f workerFlag) Type() string   { return "int" }
func (f workerFlag) String() string { return fmt.Sprint(f.workers[f.name]) }
func (f workerFlag) Set(text string) error {
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil {
		return fmt.Errorf("%q is not a number", text)
	}
	f.workers[f.name] = n
	return nil
}

// Validate names every mistake with its flag.
func (c *Config) Validate() error {
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }

	if c.Kubeconfig == "" && c.Master == "" {
		mistake("--kubeconfig: required: path to a kubeconfig file for the user system:kube-controller-manager")
	}
	if len(c.Controllers) == 0 {
		mistake("--controllers: must name at least one controller, or '*'")
	}
	known := controllerNames()
	for _, selected := range c.Controllers {
		name := strings.TrimPrefix(selected, "-")
		if selected == "*" || slices.Contains(known, canonicalName(name)) {
			continue
		}
		if slices.Contains(notProvided(), canonicalName(name)) {
			if name == selected {
				mistake("--controllers: %q is a controller of upstream's that this controller manager does not have", name)
			}
			continue
		}
		mistake("--controllers: %q is not in the list of known controllers: %s", name, strings.Join(known, ", "))
	}
	if err := c.Serving.Validate(); err != nil {
		mistakes = append(mistakes, err)
	}
	if (c.Signing.CertFile == "") != (c.Signing.KeyFile == "") {
		mistake("--cluster-signing-cert-file and --cluster-signing-key-file: must be given together")
	}
	if e := c.Election; e.Enabled && (e.LeaseDuration <= e.RenewDeadline || e.RenewDeadline <= e.RetryPeriod || e.RetryPeriod <= 0) {
		mistake("--leader-elect-lease-duration (%s) must be longer than --leader-elect-renew-deadline (%s), and that longer than --leader-elect-retry-period (%s), and that more than 0", e.LeaseDuration, e.RenewDeadline, e.RetryPeriod)
	}
	if c.Nodes.AllocateCIDRs && len(c.Nodes.ClusterCIDRs) == 0 {
		mistake("--cluster-cidr: required with --allocate-node-cidrs")
	}
	for flag, cidrs := range map[string][]string{"--cluster-cidr": c.Nodes.ClusterCIDRs, "--service-cluster-ip-range": c.Nodes.ServiceCIDRs} {
		for _, cidr := range cidrs {
			if prefix, err := netip.ParsePrefix(cidr); err != nil || prefix != prefix.Masked() {
				mistake("%s: %q is not a CIDR like 10.88.0.0/16", flag, cidr)
			}
		}
	}
	if c.Nodes.MonitorPeriod <= 0 {
		mistake("--node-monitor-period: %s must be more than 0", c.Nodes.MonitorPeriod)
	}
	if c.Nodes.MonitorGracePeriod <= 0 {
		mistake("--node-monitor-grace-period: %s must be more than 0", c.Nodes.MonitorGracePeriod)
	}
	if c.Volumes.SyncPeriod <= 0 {
		mistake("--pvclaimbinder-sync-period: %s must be more than 0", c.Volumes.SyncPeriod)
	}
	if c.MaxEndpointsPerSlice < 1 || c.MaxEndpointsPerSlice > 1000 {
		mistake("--max-endpoints-per-slice: %d must be 1 to 1000", c.MaxEndpointsPerSlice)
	}
	for name, workers := range c.Workers {
		if workers < 1 {
			mistake("--concurrent-%s-syncs: %d must be 1 or more", name, workers)
		}
	}
	return errors.Join(mistakes...)
}
