package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/framework/expect"
	"github.com/plumbline/plumbline/framework/supervisor"
)

// up boots a cluster as somebody at a terminal does.
func (m *measurement) up(ctx context.Context) (*supervisor.Status, error) {
	var out, trouble bytes.Buffer
	args := append([]string{"up", "--name", m.Name, "--nodes", fmt.Sprint(m.Nodes), "-o", "json"}, m.contender.Flags...)
	cmd := exec.CommandContext(ctx, m.contender.Program, args...)
	cmd.Dir = m.contender.Dir
	cmd.Stdout, cmd.Stderr = &out, &trouble
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(trouble.String()))
	}
	status := &supervisor.Status{}
	if err := json.Unmarshal(out.Bytes(), status); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return status, nil
}

// firstUse measures, from the command on, when a first application runs and when DNS
// answers.
func (m *measurement) firstUse(ctx context.Context, begun time.Time, w *workload, supervised *supervisor.Client) error {
	m.say("first application, DNS")
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := w.client.Create(ctx, newPod(w.namespace, "app")); err != nil {
			return err
		}
		running, err := w.running.await(ctx, "app")
		if err == nil {
			m.record.duration("boot/app", running.Sub(begun))
		}
		return err
	})
	group.Go(func() error {
		if err := w.awaitDNS(ctx, supervised); err != nil {
			return fmt.Errorf("DNS: %w", err)
		}
		m.record.duration("boot/dns", time.Since(begun))
		return nil
	})
	return group.Wait()
}

// askAgain is the pause after a question that got no answer, and answerWithin how long one is
// waited for: a server answers in a millisecond, but a question that is lost before it listens
// would be waited for by a resolver for five seconds.
const (
	askAgain     = 5 * time.Millisecond
	answerWithin = 200 * time.Millisecond
)

// awaitDNS returns when the cluster's DNS server has answered a question that came
// by way of its Service.
func (w *workload) awaitDNS(ctx context.Context, supervised *supervisor.Client) error {
	const namespace, name, question = "kube-system", "kube-dns", "kubernetes.default.svc.cluster.local."
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "coredns"}}
	if err := w.watcher.Until(ctx, deployment, expect.BeRolledOut()); err != nil {
		return err
	}
	var service corev1.Service
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &service); err != nil {
		return err
	}
	outside, err := supervised.Outside()
	if err != nil {
		return err
	}
	defer outside.Close()
	server := net.JoinHostPort(service.Spec.ClusterIP, "53")
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return outside.DialContext(ctx, network, server)
	}}
	ctx, cancel := context.WithTimeout(ctx, expect.Scaled(expect.Medium))
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, answerWithin)
		_, err := resolver.LookupNetIP(attempt, "ip4", question)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(askAgain):
		}
	}
}

// memory reads, once the cluster has come to rest, what its components hold.
func (m *measurement) memory(ctx context.Context, supervised *supervisor.Client) error {
	m.say(fmt.Sprintf("leave it alone for %s", m.Settle))
	select {
	case <-time.After(m.Settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	status, err := supervised.Status(ctx)
	if err != nil {
		return err
	}
	all := map[string]int64{}
	for _, machine := range status.Machines {
		for _, component := range machine.Components {
			if component.Memory == nil {
				continue
			}
			for kind, count := range map[string]int64{
				"resident": component.Memory.Resident, "proportional": component.Memory.Proportional, "anonymous": component.Memory.Anonymous,
			} {
				m.record.bytes("memory/"+kind+"/"+component.Name, count)
				all[kind] += count
			}
		}
	}
	for kind, count := range all {
		m.record.bytes("memory/"+kind+"/all", count)
	}
	return nil
}
