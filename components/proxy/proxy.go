package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/proxy/conntrack"
	"github.com/plumbline/plumbline/components/proxy/healthcheck"
	"github.com/plumbline/plumbline/components/proxy/nftables"
	"github.com/plumbline/plumbline/components/proxy/plan"
	"github.com/plumbline/plumbline/components/serving"
)

// patience is how long a change may wait to be programmed before the proxy calls
// itself unhealthy; upstream's is twice its sync period of 30 s.
const patience = time.Minute

// Run serves the node until ctx ends. It needs CAP_NET_ADMIN in the network namespace
// it is started in. The rules stay when it ends, so that a restart breaks nothing.
func Run(ctx context.Context, config Config) error {
	rest, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	rest.ContentType = "application/vnd.kubernetes.protobuf"
	rest.UserAgent = "kube-proxy"
	rest.QPS = -1
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	health := healthcheck.NewProxy(patience)
	p := &proxy{
		config:   config,
		node:     plan.Node{Name: config.NodeName},
		families: families(config),
		health:   health,
		services: healthcheck.NewServices(health),
		metrics:  newMetrics(),
		planned:  map[corev1.IPFamily]map[types.NamespacedName][]plan.Port{},
	}
	defer p.services.Close()
	if err := p.listen(ctx); err != nil {
		return err
	}
	klog.InfoS("Serving Services", "node", config.NodeName, "mode", config.Mode, "pods", config.ClusterCIDRs)
	return p.follow(ctx, client)
}

// family is the table of one address family.
type family struct {
	name  corev1.IPFamily
	table *nftables.Table
}

// families are those of the cluster's pods; IPv4 where these are not known.
func families(config Config) []family {
	ranges := map[corev1.IPFamily]netip.Prefix{}
	for _, prefix := range config.ClusterCIDRs {
		if prefix.Addr().Is4() {
			ranges[corev1.IPv4Protocol] = prefix
		} else {
			ranges[corev1.IPv6Protocol] = prefix
		}
	}
	if len(ranges) == 0 {
		ranges[corev1.IPv4Protocol] = netip.Prefix{}
	}
	var all []family
	for name, prefix := range ranges {
		all = append(all, family{name, nftables.New(nftables.Config{
			Family: name, ClusterCIDR: prefix, MasqueradeBit: config.MasqueradeBit,
		})})
	}
	return all
}

type proxy struct {
	config   Config
	node     plan.Node
	families []family
	health   *healthcheck.Proxy
	services *healthcheck.Services
	metrics  *metrics
	// planned is what the kernel does at present.
	planned map[corev1.IPFamily]map[types.NamespacedName][]plan.Port
}

// listen opens the health and metrics ports.
func (p *proxy) listen(ctx context.Context) error {
	serve := func(flag, address string, handler http.Handler) error {
		if address == "" {
			return nil
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		go func() {
			if err := serving.Serve(ctx, listener, &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}); err != nil {
				klog.ErrorS(err, "Serving", "address", address)
			}
		}()
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}))
	mux.Handle("/healthz", p.health.Handler())
	mux.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, p.config.Mode) })
	return errors.Join(
		serve("--healthz-bind-address", p.config.HealthzAddress, p.health.Handler()),
		serve("--metrics-bind-address", p.config.MetricsAddress, mux),
	)
}

// programme brings the kernel up to date with the named Services; all names every
// Service, also those that are gone. Failing ones are returned to be tried again.
func (p *proxy) programme(objects *objects, dirty map[types.NamespacedName]time.Time) error {
	started := time.Now()
	var errs []error
	for _, family := range p.families {
		errs = append(errs, p.programmeFamily(family, objects, dirty))
	}
	for name := range dirty {
		errs = append(errs, p.services.Set(p.healthOf(objects, name)))
	}
	if err := errors.Join(errs...); err != nil {
		p.metrics.failures.Inc()
		return err
	}
	p.health.Programmed()
	p.metrics.programmed(started, dirty)
	return nil
}

func (p *proxy) programmeFamily(family family, objects *objects, dirty map[types.NamespacedName]time.Time) error {
	planned := p.planned[family.name]
	if planned == nil {
		planned = map[types.NamespacedName][]plan.Port{}
		p.planned[family.name] = planned
	}
	changed := map[plan.PortName]*plan.Port{}
	before := map[plan.PortName]*plan.Port{}
	next := make(map[types.NamespacedName][]plan.Port, len(dirty))
	for name := range dirty {
		for i := range planned[name] {
			port := &planned[name][i]
			before[port.Name] = port
			changed[port.Name] = nil
		}
		if service := objects.service(name); service != nil {
			next[name] = plan.Service(service, objects.slices(name), p.node, family.name)
			for i := range next[name] {
				changed[next[name][i].Name] = &next[name][i]
			}
		}
	}
	if err := family.table.Apply(changed); err != nil {
		return err
	}
	for name := range dirty {
		if ports := next[name]; len(ports) > 0 {
			planned[name] = ports
		} else {
			delete(planned, name)
		}
	}
	var errs []error
	for name, now := range changed {
		if old := before[name]; lostEndpoint(old, now) {
			ended, err := conntrack.Forget(family.name, old, now)
			errs = append(errs, err)
			if ended > 0 {
				klog.V(2).InfoS("Ended stale UDP flows", "service", name.Service, "port", name.Port, "flows", ended)
			}
		}
	}
	return errors.Join(errs...)
}

// lostEndpoint is true where flows may exist that the change has made wrong: an endpoint
// went, or the first one came.
func lostEndpoint(before, now *plan.Port) bool {
	if name := before; name == nil && now == nil {
		return false
	}
	if before == nil {
		return true
	}
	old := slices.Concat(before.Cluster, before.Local)
	if now == nil || len(old) == 0 {
		return true
	}
	next := slices.Concat(now.Cluster, now.Local)
	return slices.ContainsFunc(old, func(a netip.AddrPort) bool { return !slices.Contains(next, a) })
}

func (p *proxy) healthOf(objects *objects, name types.NamespacedName) healthcheck.Service {
	health := healthcheck.Service{Name: name}
	service := objects.service(name)
	if service == nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Spec.HealthCheckNodePort == 0 ||
		service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return health
	}
	health.Port = uint16(service.Spec.HealthCheckNodePort)
	addresses := map[netip.Addr]bool{}
	for _, family := range p.families {
		for _, port := range p.planned[family.name][name] {
			for _, e := range port.Local {
				addresses[e.Addr()] = true
			}
		}
	}
	health.Local = len(addresses)
	return health
}

// metrics are upstream's names, as far as they apply
// (https://kubernetes.io/docs/reference/instrumentation/metrics/).
type metrics struct {
	registry *prometheus.Registry
	syncs    prometheus.Histogram
	latency  prometheus.Histogram
	last     prometheus.Gauge
	failures prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubeproxy_sync_proxy_rules_duration_seconds", Help: "SyncProxyRules latency in seconds",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubeproxy_network_programming_duration_seconds", Help: "In Cluster Network Programming Latency in seconds",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kubeproxy_sync_proxy_rules_last_timestamp_seconds", Help: "The last time proxy rules were successfully synced",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", Help: "Cumulative proxy nftables sync failures",
		}),
	}
	m.registry.MustRegister(m.syncs, m.latency, m.last, m.failures)
	return m
}

func (m *metrics) programmed(started time.Time, dirty map[types.NamespacedName]time.Time) {
	now := time.Now()
	m.syncs.Observe(now.Sub(started).Seconds())
	m.last.Set(float64(now.UnixNano()) / 1e9)
	for _, since := range dirty {
		m.latency.Observe(now.Sub(since).Seconds())
	}
}
