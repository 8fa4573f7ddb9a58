package environment

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Services are the variables by which containers find the services that existed
// when they were started.
// See https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables.
func Services(pod *v1.Pod, services []*v1.Service) map[string]string {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	out := map[string]string{}
	// The API server's own service is always there; one of the pod's namespace with
	// that name wins over it.
	for _, ownNamespace := range []bool{false, true} {
		for _, service := range services {
			apiServer := service.Namespace == v1.NamespaceDefault && service.Name == "kubernetes"
			if !routable(service) {
				continue
			}
			if ownNamespace && links && service.Namespace == pod.Namespace || !ownNamespace && apiServer {
				describeService(service, out)
			}
		}
	}
	return out
}

func routable(service *v1.Service) bool {
	return service.Spec.ClusterIP != "" && service.Spec.ClusterIP != v1.ClusterIPNone && len(service.Spec.Ports) > 0
}

func describeService(service *v1.Service, out map[string]string) {
	name, ip := variable(service.Name), service.Spec.ClusterIP
	ports := service.Spec.Ports
	firstPort := strconv.Itoa(int(ports[0].Port))
	out[name+"_SERVICE_HOST"] = ip
	out[name+"_SERVICE_PORT"] = firstPort
	for i, port := range ports {
		number := strconv.Itoa(int(port.Port))
		if port.Name != "" {
			out[name+"_SERVICE_PORT_"+variable(port.Name)] = number
		}
		protocol := string(port.Protocol)
		if protocol == "" {
			protocol = string(v1.ProtocolTCP)
		}
		url := fmt.Sprintf("%s://%s", strings.ToLower(protocol), net.JoinHostPort(ip, number))
		if i == 0 {
			out[name+"_PORT"] = url
		}
		link := fmt.Sprintf("%s_PORT_%s_%s", name, number, strings.ToUpper(protocol))
		out[link] = url
		out[link+"_PROTO"] = strings.ToLower(protocol)
		out[link+"_PORT"] = number
		out[link+"_ADDR"] = ip
	}
}

func variable(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
