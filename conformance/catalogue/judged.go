package catalogue

import (
	"regexp"
	"strings"
	"sync"
)

// Upstream's names of the components that behaviours judge.
const (
	apiServer   = "kube-apiserver"
	controllers = "kube-controller-manager"
	scheduler   = "kube-scheduler"
	kubelet     = "kubelet"
	proxy       = "kube-proxy"
)

// rule says which components the specs of some of upstream's files judge. It names those
// that do what the spec asserts; that pods must run for it to be seen does not count.
type rule struct {
	// file is a prefix of the path below test/e2e.
	file string
	// name narrows the rule to specs whose name it matches.
	name *regexp.Regexp
	// components are what is judged.
	components []string
}

// rules are looked through from the first; the first that fits holds. They are made when
// they are first asked for: a program that holds them is mostly another.
var rules = sync.OnceValue(func() []rule {
	// objects matches specs that write, read and list objects and start nothing.
	objects := regexp.MustCompile(`API operations|CRUD|lifecycle of a|through the lifecycle|collection|[Ss]tatus (sub-resource|endpoints)|changes to a|empty (secret )?key|immutable|replace a pod template|should (patch|update) a|ConfigMap successfully|endpoints can be operated`)
	named := regexp.MustCompile
	return []rule{
		{file: "apimachinery/garbage_collector.go", components: []string{controllers}},
		{file: "apimachinery/namespace.go", name: named("removed when|delete pod first"), components: []string{controllers, apiServer}},
		{file: "apimachinery/resource_quota.go", components: []string{apiServer, controllers}},
		{file: "apimachinery/", components: []string{apiServer}},

		{file: "apps/", name: named("ControllerRevision|PodDisruptionBudgets for all namespaces"), components: []string{apiServer, controllers}},
		{file: "apps/disruption.go", components: []string{controllers, apiServer}},
		{file: "apps/job.go", name: named("locally restarted"), components: []string{controllers, kubelet}},
		{file: "apps/", name: named("CronJob API operations|Status endpoints|changes to a .* status|scale subresource|collection"), components: []string{apiServer, controllers}},
		{file: "apps/", components: []string{controllers}},

		{file: "architecture/", components: []string{kubelet}},

		{file: "auth/service_accounts.go", name: named("kube-root-ca"), components: []string{controllers}},
		{file: "auth/service_accounts.go", name: named("mount"), components: []string{apiServer, kubelet}},
		{file: "auth/projected_", name: named("CRUD"), components: []string{apiServer}},
		{file: "auth/projected_", components: []string{kubelet, apiServer}},
		{file: "auth/", components: []string{apiServer}},

		{file: "common/network/", components: []string{kubelet}},
		{file: "common/node/lease.go", components: []string{apiServer}},
		{file: "common/node/podtemplates.go", components: []string{apiServer}},
		{file: "common/node/runtimeclass.go", name: named("Overhead"), components: []string{apiServer, scheduler}},
		{file: "common/node/runtimeclass.go", name: named("reject"), components: []string{apiServer, kubelet}},
		{file: "common/node/pod_resize.go", components: []string{kubelet, apiServer}},
		{file: "common/node/pods.go", name: named("websockets|Lifecycle|lifecycle|status|updated|removed"), components: []string{kubelet, apiServer}},
		{file: "common/node/", name: objects, components: []string{apiServer}},
		{file: "common/node/ephemeral_containers.go", components: []string{kubelet, apiServer}},
		{file: "common/node/", components: []string{kubelet}},
		{file: "common/storage/", name: objects, components: []string{apiServer, kubelet}},
		{file: "common/storage/", components: []string{kubelet}},

		{file: "dra/", components: []string{apiServer}},
		{file: "instrumentation/", components: []string{apiServer}},

		{file: "kubectl/", name: named("logs"), components: []string{kubelet, apiServer}},
		{file: "kubectl/", name: named("Guestbook"), components: []string{apiServer, controllers, kubelet, proxy}},
		{file: "kubectl/", name: named("Update Demo|replication controller|expose|describe"), components: []string{apiServer, controllers}},
		{file: "kubectl/", components: []string{apiServer}},

		{file: "network/apiserver.go", components: []string{apiServer}},
		{file: "network/dns.go", components: []string{kubelet, proxy, controllers}},
		{file: "network/endpoint", name: named("lifecycle|API operations"), components: []string{apiServer}},
		{file: "network/endpointslice.go", name: named("support a Service with multiple"), components: []string{proxy}},
		{file: "network/endpoint", components: []string{controllers}},
		{file: "network/hostport.go", components: []string{kubelet, scheduler}},
		{file: "network/ingress", components: []string{apiServer}},
		{file: "network/proxy.go", components: []string{apiServer}},
		{file: "network/service.go", name: named("status lifecycle|collection of services|all namespaces"), components: []string{apiServer}},
		{file: "network/service.go", components: []string{proxy, controllers}},
		{file: "network/service_cidrs.go", components: []string{apiServer}},
		{file: "network/service_latency.go", components: []string{controllers}},

		{file: "node/node_lifecycle.go", components: []string{apiServer}},
		{file: "node/taints.go", components: []string{controllers}},
		{file: "node/pods.go", components: []string{apiServer, kubelet}},
		{file: "node/", components: []string{kubelet}},

		{file: "scheduling/limit_range.go", components: []string{apiServer}},
		{file: "scheduling/", name: objects, components: []string{apiServer}},
		{file: "scheduling/preemption.go", components: []string{scheduler}},
		{file: "scheduling/", components: []string{scheduler}},

		{file: "storage/subpath.go", components: []string{kubelet}},
		{file: "storage/empty_dir_wrapper.go", components: []string{kubelet}},
		{file: "storage/persistent_volumes.go", components: []string{apiServer, controllers}},
		{file: "storage/", components: []string{apiServer}},
	}
})

// judged are the components that a spec of upstream's judges. A file that no rule knows
// judges everything, so that nothing is left out of a comparison by oversight.
func judged(file, name string) []string {
	path := strings.TrimPrefix(file, "test/e2e/")
	for _, r := range rules() {
		if strings.HasPrefix(path, r.file) && (r.name == nil || r.name.MatchString(name)) {
			return r.components
		}
	}
	return []string{apiServer, controllers, scheduler, kubelet, proxy}
}
