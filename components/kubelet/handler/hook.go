package handler

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// HookTarget is the container that a lifecycle hook is about.
type HookTarget struct {
	Container   *v1.Container
	ContainerID string
	PodIP       string
}

// Hook runs a postStart or preStop handler to its end.
// See https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/.
func Hook(ctx context.Context, exec Exec, target HookTarget, hook *v1.LifecycleHandler) error {
	switch {
	case hook.Exec != nil:
		output, err := Command(ctx, exec, target.ContainerID, hook.Exec.Command, 0)
		if err != nil {
			return fmt.Errorf("Exec lifecycle hook (%s) for Container %q failed - error: %w, message: %q",
				strings.Join(hook.Exec.Command, " "), target.Container.Name, err, output)
		}
		return nil
	case hook.HTTPGet != nil:
		_, _, err := HTTP(ctx, HTTPTarget{Action: hook.HTTPGet, Container: target.Container, PodIP: target.PodIP, UserAgent: "kube-lifecycle/1.37"})
		if err != nil && hook.HTTPGet.Scheme == v1.URISchemeHTTPS && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
			plain := hook.HTTPGet.DeepCopy()
			plain.Scheme = v1.URISchemeHTTP
			_, _, err = HTTP(ctx, HTTPTarget{Action: plain, Container: target.Container, PodIP: target.PodIP, UserAgent: "kube-lifecycle/1.37"})
		}
		if err != nil {
			return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q failed - error: %w", hook.HTTPGet.Path, target.Container.Name, err)
		}
		return nil
	case hook.Sleep != nil:
		timer := time.NewTimer(time.Duration(hook.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return nil
	}
	return fmt.Errorf("invalid handler: %v", hook)
}
