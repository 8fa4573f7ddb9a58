package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/plumbline/plumbline/framework/expect"
)

// Dialer opens connections.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Outside is a place on the cluster's network that is neither pod nor node.
type Outside struct{ dialer Dialer }

// FromOutside is that place. A cluster of this host has one; for any other it is where the
// suites run, and the spec is skipped if no node can be reached from there.
func (s *Suite) FromOutside(ctx context.Context) Outside {
	ginkgo.GinkgoHelper()
	if s.Machines == nil {
		node := s.Nodes(ctx, 1)[0]
		if err := reach(ctx, s.outside, s.NodeAddress(ctx, node)); err != nil {
			ginkgo.Skip(fmt.Sprintf("needs a way from here, outside the cluster, to its nodes; %s: %v", node, err))
		}
	}
	return Outside{dialer: s.outside}
}

// reach says why a node cannot be reached: one that is there answers at its kubelet's port,
// if only by refusing.
func reach(ctx context.Context, from Dialer, host string) error {
	const kubeletPort = "10250"
	ctx, cancel := context.WithTimeout(ctx, expect.Scaled(3*time.Second)) // a lost packet is sent again after one
	defer cancel()
	connection, err := from.DialContext(ctx, "tcp", net.JoinHostPort(host, kubeletPort))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return err
	}
	return connection.Close()
}

// Get requests a URL on a connection of its own and returns the body. An answer other
// than 200 is an error.
func (o Outside) Get(ctx context.Context, url string) (string, error) {
	code, body, err := o.GetStatus(ctx, url)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: %d: %s", url, code, body)
	}
	return body, err
}

// GetStatus is Get for any status code.
func (o Outside) GetStatus(ctx context.Context, url string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{
		Timeout:   expect.Scaled(3 * time.Second), // the fabric answers within a millisecond, or drops
		Transport: &http.Transport{DialContext: o.dialer.DialContext, DisableKeepAlives: true},
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(body)), err
}
