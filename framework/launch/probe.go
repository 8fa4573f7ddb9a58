package launch

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Probe asks a component whether it serves.
type Probe struct {
	// URL is asked with GET and answers 200 when the component serves. A URL of
	// scheme tcp, "tcp://127.0.0.1:2379", is only connected to.
	URL string
	// TLS holds a client certificate, where one is needed. The server's certificate
	// is not verified: the question is whether it answers, not who.
	TLS *tls.Config
}

const probeInterval = 10 * time.Millisecond

// WaitReady returns when the component's probe succeeds, or with its last failure
// when ctx ends.
func (r *Running) WaitReady(ctx context.Context) error {
	ready := r.Component().Ready
	if ready == nil {
		return nil
	}
	probe, closeIdle, err := ready.asker(r)
	if err != nil {
		return err
	}
	defer closeIdle()
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w", r, err)
		case <-ticker.C:
		}
	}
}

// asker makes a function that asks once. Connections stay open between questions:
// handshakes would slow down the one who is starting.
func (p *Probe) asker(r *Running) (ask func(context.Context) error, closeIdle func(), err error) {
	target, err := url.Parse(p.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("probe of %s: %w", r, err)
	}
	dial := r.component.Machine.DialContext
	if target.Scheme == "tcp" {
		return func(ctx context.Context) error {
			conn, err := dial(ctx, "tcp", target.Host)
			if err != nil {
				return err
			}
			return conn.Close()
		}, func() {}, nil
	}
	config := &tls.Config{}
	if p.TLS != nil {
		config = p.TLS.Clone()
	}
	config.InsecureSkipVerify = true
	transport := &http.Transport{DialContext: dial, TLSClientConfig: config}
	client := &http.Client{Transport: transport}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", p.URL, response.Status)
		}
		return nil
	}, transport.CloseIdleConnections, nil
}
