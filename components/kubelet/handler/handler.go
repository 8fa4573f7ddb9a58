// Package handler carries out what a pod spec asks to be done to a container:
// requests over HTTP, TCP and gRPC, and commands in it. Probes and lifecycle hooks
// are made of these.
package handler

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	criclient "k8s.io/cri-client/pkg"
	utilexec "k8s.io/utils/exec"
)

// maxBody is how much of an answer is kept to be shown.
const maxBody = 10 * 1024

// Exec runs commands in containers.
type Exec interface {
	ExecSync(ctx context.Context, containerID string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error)
}

// Failure says that the container answered, and the answer was no.
type Failure struct{ Output string }

func (f *Failure) Error() string { return f.Output }

// Command runs a command in a container. A command that ends with another code
// than 0 is a Failure.
func Command(ctx context.Context, exec Exec, containerID string, command []string, timeout time.Duration) (string, error) {
	stdout, stderr, err := exec.ExecSync(ctx, containerID, command, timeout)
	output := string(stdout) + string(stderr)
	if len(output) > maxBody {
		output = output[:maxBody]
	}
	var exit utilexec.ExitError
	switch {
	case err == nil:
		return output, nil
	case errors.Is(err, criclient.ErrCommandTimedOut):
		return output, &Failure{Output: fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout)}
	case errors.As(err, &exit) && exit.Exited():
		return output, &Failure{Output: output}
	}
	return output, err
}

// Port finds the number of a port that may be given by its name in a container.
func Port(port intstr.IntOrString, container *v1.Container) (int, error) {
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range container.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return 0, fmt.Errorf("couldn't find port: %v in container %s", port.String(), container.Name)
	}
	return number, nil
}

// HTTPTarget is where an HTTP request goes.
type HTTPTarget struct {
	Action    *v1.HTTPGetAction
	Container *v1.Container
	// PodIP is used where the action names no host.
	PodIP string
	// UserAgent names the asker: kube-probe or kube-lifecycle.
	UserAgent string
}

// HTTP makes a GET request. Answers from 200 to 399 are success; others a Failure.
// Redirects to another host are not followed and count as success.
func HTTP(ctx context.Context, target HTTPTarget) (output string, warning bool, err error) {
	request, err := newRequest(ctx, target)
	if err != nil {
		return "", false, err
	}
	host := request.URL.Hostname()
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // containers have no certificate that the node could know
			DisableKeepAlives:  true,
			DisableCompression: true,
			Proxy:              nil,
			DialContext:        (&net.Dialer{Control: nil}).DialContext,
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Hostname() != host {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error(), false, &Failure{Output: err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return "", false, err
	}
	switch code := response.StatusCode; {
	case code >= 300 && code < 400:
		return fmt.Sprintf("Probe terminated redirects, Response body: %s", body), true, nil
	case code >= 200 && code < 300:
		return string(body), false, nil
	default:
		return string(body), false, &Failure{Output: fmt.Sprintf("HTTP probe failed with statuscode: %d", code)}
	}
}

func newRequest(ctx context.Context, target HTTPTarget) (*http.Request, error) {
	action := target.Action
	port, err := Port(action.Port, target.Container)
	if err != nil {
		return nil, err
	}
	host := action.Host
	if host == "" {
		host = target.PodIP
	}
	scheme := strings.ToLower(string(action.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	location, err := url.Parse(action.Path)
	if err != nil {
		location = &url.URL{Path: action.Path}
	}
	location.Scheme, location.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range action.HTTPHeaders {
		request.Header.Add(h.Name, h.Value)
	}
	if _, given := request.Header["User-Agent"]; !given {
		request.Header.Set("User-Agent", target.UserAgent)
	}
	if _, given := request.Header["Accept"]; !given {
		request.Header.Set("Accept", "*/*")
	} else if request.Header.Get("Accept") == "" {
		// An empty value asks for the header to be left out.
		request.Header.Del("Accept")
	}
	if asked := request.Header.Get("Host"); asked != "" {
		request.Host = asked
	}
	return request, nil
}

// TCP opens a connection and closes it.
func TCP(ctx context.Context, action *v1.TCPSocketAction, container *v1.Container, podIP string) error {
	port, err := Port(action.Port, container)
	if err != nil {
		return err
	}
	host := action.Host
	if host == "" {
		host = podIP
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return &Failure{Output: err.Error()}
	}
	return conn.Close()
}

// GRPC asks the standard gRPC health service.
func GRPC(ctx context.Context, action *v1.GRPCAction, podIP string) error {
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	address := net.JoinHostPort(podIP, strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithUserAgent("kube-probe/1.37"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx = metadata.NewOutgoingContext(ctx, metadata.MD{})
	answer, err := grpchealth.NewHealthClient(conn).Check(ctx, &grpchealth.HealthCheckRequest{Service: service})
	if err != nil {
		switch status.Code(err) {
		case codes.Unimplemented:
			return &Failure{Output: fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", err)}
		case codes.DeadlineExceeded, codes.Canceled:
			return &Failure{Output: fmt.Sprintf("timeout: health rpc did not complete within %s", "the probe's timeout")}
		}
		return &Failure{Output: fmt.Sprintf("error: health rpc probe failed: %s", err)}
	}
	if answer.GetStatus() != grpchealth.HealthCheckResponse_SERVING {
		return &Failure{Output: fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus().String())}
	}
	return nil
}
