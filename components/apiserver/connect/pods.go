package connect

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	netutils "k8s.io/utils/net"
)

// Methods of endpoints that stream, and of those that proxy.
func streamMethods() []string { return []string{http.MethodGet, http.MethodPost} }

func proxyMethods() []string {
	return []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}
}

// Config is what the endpoints need.
type Config struct {
	Objects    Objects
	Kubelets   *Kubelets
	Authorizer authorizer.Authorizer
	// Direct reaches pods, Services and ports of nodes that are no kubelet's.
	Direct http.RoundTripper
	// Endpoints picks an endpoint of a Service.
	Endpoints translator.EndpointSliceGetter
	// Family is the cluster's first IP family.
	Family corev1.IPFamily
}

// New makes the endpoints by their path below /api/v1.
func New(c Config) map[string]rest.Storage {
	return map[string]rest.Storage{
		"pods/log":         &logs{c},
		"pods/exec":        c.exec(),
		"pods/attach":      c.attach(),
		"pods/portforward": c.portForward(),
		"pods/proxy":       c.podProxy(),
		"services/proxy":   c.serviceProxy(),
		"nodes/proxy":      c.nodeProxy(),
	}
}

func (c Config) exec() rest.Storage {
	return &endpoint{
		object:  func() runtime.Object { return &corev1.PodExecOptions{} },
		options: func() runtime.Object { return &corev1.PodExecOptions{} },
		methods: streamMethods(), upgrade: true, authorizer: c.Authorizer,
		streams: func(options runtime.Object) translator.Options {
			o := options.(*corev1.PodExecOptions)
			return translator.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
		},
		locate: func(ctx context.Context, name string, options runtime.Object) (*url.URL, http.RoundTripper, error) {
			o := options.(*corev1.PodExecOptions)
			query := streamQuery(o.Stdin, o.Stdout, o.Stderr, o.TTY)
			query["command"] = o.Command
			return c.inContainer(ctx, "exec", name, o.Container, query)
		},
	}
}

func (c Config) attach() rest.Storage {
	return &endpoint{
		object:  func() runtime.Object { return &corev1.PodAttachOptions{} },
		options: func() runtime.Object { return &corev1.PodAttachOptions{} },
		methods: streamMethods(), upgrade: true, authorizer: c.Authorizer,
		streams: func(options runtime.Object) translator.Options {
			o := options.(*corev1.PodAttachOptions)
			return translator.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
		},
		locate: func(ctx context.Context, name string, options runtime.Object) (*url.URL, http.RoundTripper, error) {
			o := options.(*corev1.PodAttachOptions)
			return c.inContainer(ctx, "attach", name, o.Container, streamQuery(o.Stdin, o.Stdout, o.Stderr, o.TTY))
		},
	}
}

// streamQuery names the streams as kubelets expect them.
func streamQuery(stdin, stdout, stderr, tty bool) url.Values {
	query := url.Values{}
	for name, wanted := range map[string]bool{
		corev1.ExecStdinParam: stdin, corev1.ExecStdoutParam: stdout, corev1.ExecStderrParam: stderr, corev1.ExecTTYParam: tty,
	} {
		if wanted {
			query.Set(name, "1")
		}
	}
	return query
}

func (c Config) portForward() rest.Storage {
	return &endpoint{
		object:  func() runtime.Object { return &corev1.PodPortForwardOptions{} },
		options: func() runtime.Object { return &corev1.PodPortForwardOptions{} },
		methods: streamMethods(), upgrade: true, tunnel: true, authorizer: c.Authorizer,
		locate: func(ctx context.Context, name string, options runtime.Object) (*url.URL, http.RoundTripper, error) {
			pod, err := c.pod(ctx, name)
			if err != nil {
				return nil, nil, err
			}
			var ports []string
			for _, port := range options.(*corev1.PodPortForwardOptions).Ports {
				ports = append(ports, strconv.Itoa(int(port)))
			}
			query := url.Values{}
			if len(ports) > 0 {
				query.Set(corev1.PortHeader, strings.Join(ports, ","))
			}
			return c.atKubelet(ctx, pod, fmt.Sprintf("/portForward/%s/%s", pod.Namespace, pod.Name), query)
		},
	}
}

func (c Config) podProxy() rest.Storage {
	return &endpoint{
		object:  func() runtime.Object { return &corev1.PodProxyOptions{} },
		options: func() runtime.Object { return &corev1.PodProxyOptions{} },
		path:    true, methods: proxyMethods(),
		locate: func(ctx context.Context, id string, options runtime.Object) (*url.URL, http.RoundTripper, error) {
			location, err := c.podLocation(ctx, id)
			if err != nil {
				return nil, nil, err
			}
			location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, options.(*corev1.PodProxyOptions).Path)
			return location, c.Direct, nil
		},
	}
}

// podLocation reads "name", "name:port" or "scheme:name:port"; without a port it is the first one that
// the pod declares.
func (c Config) podLocation(ctx context.Context, id string) (*url.URL, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	pod, err := c.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if port == "" {
		at := slices.IndexFunc(pod.Spec.Containers, func(container corev1.Container) bool { return len(container.Ports) > 0 })
		if at >= 0 {
			port = strconv.Itoa(int(pod.Spec.Containers[at].Ports[0].ContainerPort))
		}
	}
	ip := pod.Status.PodIP
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	// A pod's status is a kubelet's word; it must not lead to this machine itself.
	if parsed := netutils.ParseIPSloppy(ip); parsed == nil || !parsed.IsGlobalUnicast() {
		return nil, apierrors.NewBadRequest("address not allowed")
	}
	return &url.URL{Scheme: scheme, Host: hostPort(ip, port)}, nil
}

func hostPort(ip, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(ip, port)
	case strings.Contains(ip, ":"):
		return "[" + ip + "]"
	}
	return ip
}

func (c Config) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	obj, err := c.Objects.GetLatest(ctx, corev1.Resource("pods"), genericrequest.NamespaceValue(ctx), name)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

func (c Config) inContainer(ctx context.Context, verb, name, container string, query url.Values) (*url.URL, http.RoundTripper, error) {
	pod, err := c.pod(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if container, err = chooseContainer(pod, container); err != nil {
		return nil, nil, err
	}
	return c.atKubelet(ctx, pod, fmt.Sprintf("/%s/%s/%s/%s", verb, pod.Namespace, pod.Name, container), query)
}

func (c Config) atKubelet(ctx context.Context, pod *corev1.Pod, path string, query url.Values) (*url.URL, http.RoundTripper, error) {
	if pod.Spec.NodeName == "" {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	at, err := c.Kubelets.of(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, nil, err
	}
	return &url.URL{Scheme: "https", Host: at.address(), Path: path, RawQuery: query.Encode()}, c.Kubelets.verified, nil
}

// chooseContainer checks the container's name, or finds the only one.
func chooseContainer(pod *corev1.Pod, asked string) (string, error) {
	names := func(containers []corev1.Container) []string {
		var list []string
		for _, container := range containers {
			list = append(list, container.Name)
		}
		return list
	}
	normal, early := names(pod.Spec.Containers), names(pod.Spec.InitContainers)
	var late []string
	for _, container := range pod.Spec.EphemeralContainers {
		late = append(late, container.Name)
	}
	switch {
	case asked != "" && slices.Contains(slices.Concat(normal, early, late), asked):
		return asked, nil
	case asked != "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", asked, pod.Name))
	case len(normal) == 1:
		return normal[0], nil
	case len(normal) == 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	}
	message := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, normal)
	if len(early) > 0 {
		message += fmt.Sprintf(" or one of the init containers: %s", early)
	}
	if len(late) > 0 {
		message += fmt.Sprintf(" or one of the ephemeral containers: %s", late)
	}
	return "", apierrors.NewBadRequest(message)
}

func forbidden(a authorizer.AttributesRecord, reason string) error {
	if reason == "" {
		reason = fmt.Sprintf("User %q cannot create resource \"%s/%s\" in API group %q in the namespace %q", a.User.GetName(), a.Resource, a.Subresource, a.APIGroup, a.Namespace)
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.APIGroup, Resource: a.Resource}, a.Name, fmt.Errorf("%s", reason))
}

// rfc3339 is how kubelets read a time.
func rfc3339(t time.Time) string { return t.Format(time.RFC3339) }
