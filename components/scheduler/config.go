package scheduler

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-base/featuregate"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/plumbline/plumbline/components/scheduler/configuration"
	schedulerruntime "github.com/plumbline/plumbline/components/scheduler/runtime"
	"github.com/plumbline/plumbline/components/serving"
)

// Config is a scheduler's configuration: the versioned part, and what upstream's kube-scheduler takes by flags.
type Config struct {
	// Component is the KubeSchedulerConfiguration, defaulted.
	Component *configv1.KubeSchedulerConfiguration

	// Kubeconfig connects to the API server unless Component names one; with neither, it is the pod's service account.
	Kubeconfig string
	// Serving is where and to whom health and metrics are served.
	Serving serving.Options

	// Features are the feature gates that can be set.
	Features featuregate.MutableFeatureGate

	// Plugins are further plugins, compiled in by whoever embeds the scheduler.
	Plugins schedulerruntime.Registry
}

// GenericWorkload schedules pods in groups (beta, off by default). Kubernetes' other gates are as they are by default.
const GenericWorkload featuregate.Feature = "GenericWorkload"

// DefaultConfig returns the configuration of a scheduler started without flags.
func DefaultConfig() (*Config, error) {
	component, err := configuration.Default()
	if err != nil {
		return nil, err
	}
	features := featuregate.NewFeatureGate()
	if err := features.Add(map[featuregate.Feature]featuregate.FeatureSpec{GenericWorkload: {PreRelease: featuregate.Beta}}); err != nil {
		return nil, err
	}
	return &Config{Component: component, Serving: serving.Defaults(10259), Features: features}, nil
}

func (c *Config) enabled(feature featuregate.Feature) bool {
	return c.Features != nil && c.Features.Enabled(feature)
}

// Validate says what is wrong, all at once.
func (c *Config) Validate() error {
	var errs []error
	if err := configuration.Validate(c.Component); err != nil {
		errs = append(errs, err)
	}
	if err := c.Serving.Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Kubeconfig != "" {
		if _, err := os.Stat(c.Kubeconfig); err != nil {
			errs = append(errs, fmt.Errorf("--kubeconfig: %w", err))
		}
	}
	return errors.Join(errs...)
}

// flags are the command line, to be applied to a Config once it is parsed: a configuration file comes first, and
// flags given explicitly override it.
type flags struct {
	config     string
	elect      configv1.KubeSchedulerConfiguration
	qps        float32
	burst      int32
	content    string
	leaderElct bool
}

func (f *flags) register(set *pflag.FlagSet, c *Config) {
	set.StringVar(&f.config, "config", "", "The path to the configuration file (KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1).")
	set.StringVar(&c.Kubeconfig, "kubeconfig", "", "Path to the kubeconfig of the API server. Ignored if the configuration file names one.")
	c.Serving.AddFlags(set)
	c.Features.AddFlag(set)
	set.BoolVar(&f.leaderElct, "leader-elect", true, "Gain leadership before scheduling.")
	l := &f.elect.LeaderElection
	set.DurationVar(&l.LeaseDuration.Duration, "leader-elect-lease-duration", c.Component.LeaderElection.LeaseDuration.Duration, "How long others wait after the leader's last renewal.")
	set.DurationVar(&l.RenewDeadline.Duration, "leader-elect-renew-deadline", c.Component.LeaderElection.RenewDeadline.Duration, "How long the leader tries to renew before giving up.")
	set.DurationVar(&l.RetryPeriod.Duration, "leader-elect-retry-period", c.Component.LeaderElection.RetryPeriod.Duration, "How long to wait between tries.")
	set.StringVar(&l.ResourceName, "leader-elect-resource-name", c.Component.LeaderElection.ResourceName, "Name of the Lease.")
	set.StringVar(&l.ResourceNamespace, "leader-elect-resource-namespace", c.Component.LeaderElection.ResourceNamespace, "Namespace of the Lease.")
	set.Float32Var(&f.qps, "kube-api-qps", 0, "Requests per second to the API server; without it, as many as it takes.")
	set.Int32Var(&f.burst, "kube-api-burst", 0, "Burst of requests to the API server, with --kube-api-qps.")
	set.StringVar(&f.content, "kube-api-content-type", runtime.ContentTypeProtobuf, "Content type of requests to the API server.")
}

// apply reads the configuration file, if any, and puts the given flags over it.
func (f *flags) apply(set *pflag.FlagSet, c *Config) error {
	if f.config != "" {
		component, err := configuration.Load(f.config)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		c.Component = component
	}
	given, own, file := set.Changed, &f.elect.LeaderElection, &c.Component.LeaderElection
	if given("leader-elect") {
		file.LeaderElect = &f.leaderElct
	}
	if given("leader-elect-lease-duration") {
		file.LeaseDuration = own.LeaseDuration
	}
	if given("leader-elect-renew-deadline") {
		file.RenewDeadline = own.RenewDeadline
	}
	if given("leader-elect-retry-period") {
		file.RetryPeriod = own.RetryPeriod
	}
	if given("leader-elect-resource-name") {
		file.ResourceName = own.ResourceName
	}
	if given("leader-elect-resource-namespace") {
		file.ResourceNamespace = own.ResourceNamespace
	}
	if given("kube-api-qps") {
		c.Component.ClientConnection.QPS = f.qps
	}
	if given("kube-api-burst") {
		c.Component.ClientConnection.Burst = f.burst
	}
	if given("kube-api-content-type") {
		c.Component.ClientConnection.ContentType = f.content
	}
	return nil
}
