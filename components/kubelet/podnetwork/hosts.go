package podnetwork

import (
	"fmt"
	"os"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxHostname is the kernel's limit less one.
const maxHostname = 63

// Hostname is the name that a pod's containers see as their host's, and the pod's
// domain if it has one.
func Hostname(pod *v1.Pod, clusterDomain string) (name, domain string, err error) {
	if override := pod.Spec.HostnameOverride; override != nil && *override != "" {
		return *override, "", nil
	}
	name = pod.Name
	if pod.Spec.Hostname != "" {
		if msgs := validation.IsDNS1123Label(pod.Spec.Hostname); len(msgs) != 0 {
			return "", "", fmt.Errorf("pod Hostname %q is not a valid DNS label: %s", pod.Spec.Hostname, strings.Join(msgs, ";"))
		}
		name = pod.Spec.Hostname
	} else if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	if pod.Spec.Subdomain != "" {
		if msgs := validation.IsDNS1123Label(pod.Spec.Subdomain); len(msgs) != 0 {
			return "", "", fmt.Errorf("pod Subdomain %q is not a valid DNS label: %s", pod.Spec.Subdomain, strings.Join(msgs, ";"))
		}
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	return name, domain, nil
}

// KernelHostname is what the pod's UTS namespace is called.
func KernelHostname(pod *v1.Pod, name, domain string) (string, error) {
	if pod.Spec.SetHostnameAsFQDN == nil || !*pod.Spec.SetHostnameAsFQDN || domain == "" {
		return name, nil
	}
	full := name + "." + domain
	if len(full) > maxHostname+1 {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", full, maxHostname+1, len(full))
	}
	return full, nil
}

// HostsFile is what a pod's /etc/hosts says.
func HostsFile(pod *v1.Pod, ips []string, name, domain string) ([]byte, error) {
	var out strings.Builder
	if pod.Spec.HostNetwork {
		own, err := os.ReadFile("/etc/hosts")
		if err != nil {
			return nil, err
		}
		out.WriteString("# Kubernetes-managed hosts file (host network).\n")
		out.Write(own)
	} else {
		out.WriteString("# Kubernetes-managed hosts file.\n")
		for _, line := range []string{
			"127.0.0.1\tlocalhost",
			"::1\tlocalhost ip6-localhost ip6-loopback",
			"fe00::0\tip6-localnet",
			"fe00::0\tip6-mcastprefix",
			"fe00::1\tip6-allnodes",
			"fe00::2\tip6-allrouters",
		} {
			out.WriteString(line + "\n")
		}
		for _, ip := range ips {
			if domain != "" {
				fmt.Fprintf(&out, "%s\t%s.%s\t%s\n", ip, name, domain, name)
			} else {
				fmt.Fprintf(&out, "%s\t%s\n", ip, name)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		out.WriteString("\n# Entries added by HostAliases.\n")
		for _, alias := range pod.Spec.HostAliases {
			fmt.Fprintf(&out, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
		}
	}
	return []byte(out.String()), nil
}
