package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/environment"
	"github.com/plumbline/plumbline/components/kubelet/handler"
	"github.com/plumbline/plumbline/components/kubelet/image"
	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/objectcache"
	"github.com/plumbline/plumbline/components/kubelet/podnetwork"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/volume"
)

// carryOut does what a plan says. It runs beside the loop.
func (w *worker) carryOut(ctx context.Context, pod *v1.Pod, plan lifecycle.Plan) outcome {
	defer w.m.c.Working()()
	if w.m.c.Objects != nil {
		w.m.c.Objects.Hold(pod.UID, objectcache.RefsOf(pod))
	}
	if plan.ReplaceSandbox {
		w.m.c.Event(pod, "", v1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
		if err := w.stopAll(ctx, pod, graceOf(pod, nil)); err != nil {
			return outcome{err: err}
		}
	}
	for _, c := range plan.Remove {
		if err := w.m.c.Runtime.RemoveContainer(ctx, c.Id); err != nil {
			return outcome{err: err}
		}
		w.m.c.Observer.Forget(c.Id)
	}
	w.stopUnhealthy(ctx, pod, plan.Stop)
	if err := w.actuate(ctx, pod, plan); err != nil {
		return outcome{err: err}
	}

	sandboxConfig, err := w.prepare(ctx, pod, plan)
	if err != nil {
		return outcome{err: err}
	}
	return w.startAll(ctx, pod, plan, sandboxConfig)
}

// stopUnhealthy stops the containers that a plan wants restarted, all at once.
func (w *worker) stopUnhealthy(ctx context.Context, pod *v1.Pod, stops []lifecycle.Stop) {
	var group sync.WaitGroup
	for _, stop := range stops {
		grace := graceOf(pod, nil)
		probeSpec := stop.Spec.LivenessProbe
		if stop.Probe == "startup" {
			probeSpec = stop.Spec.StartupProbe
		}
		if stop.Probe != "" && probeSpec != nil && probeSpec.TerminationGracePeriodSeconds != nil {
			grace = *probeSpec.TerminationGracePeriodSeconds
		}
		group.Go(func() {
			if stop.Anew {
				w.restarts(stop.Container.Id)
			}
			_ = w.stopContainer(ctx, stopRequest{pod: pod, container: stop.Container, spec: stop.Spec, grace: grace, message: stop.Message})
		})
	}
	group.Wait()
}

// prepare makes what the pod's containers need around them: cgroup, volumes and
// sandbox. What waits for the API server and what waits for the runtime goes on side
// by side.
func (w *worker) prepare(ctx context.Context, pod *v1.Pod, plan lifecycle.Plan) (*runtimeapi.PodSandboxConfig, error) {
	config, err := w.sandboxConfig(pod, plan.Attempt)
	if err != nil {
		w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		return nil, err
	}
	if !plan.CreateSandbox {
		if sandbox := w.m.c.Observer.Get(w.uid).Sandbox(); sandbox != nil {
			config.Metadata.Attempt = sandbox.GetMetadata().GetAttempt()
		}
		err := w.m.c.Volumes.SetUp(ctx, pod)
		w.reportVolumes(pod, err)
		// The content of a volume that could not be refreshed must not keep containers from running.
		if err != nil && !w.volumesUp {
			return nil, err
		}
		w.volumesUp = true
		return config, nil
	}
	if !pod.Spec.HostNetwork && w.m.c.NetworkReady != nil {
		if err := w.m.c.NetworkReady(); err != nil {
			w.m.c.Event(pod, "", v1.EventTypeWarning, "NetworkNotReady", fmt.Sprintf("network is not ready: %v", err))
			return nil, err
		}
	}
	if err := preparable(pod); err != nil {
		w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedPrepareDynamicResources", fmt.Sprintf("Failed to prepare dynamic resources: %v", err))
		return nil, err
	}
	if err := w.setGroup(pod); err != nil {
		w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedCreatePodContainer", fmt.Sprintf("unable to ensure pod container exists: %v", err))
		return nil, err
	}
	if err := w.m.c.Volumes.Prepare(ctx, pod); err != nil {
		w.reportVolumes(pod, err)
		return nil, err
	}
	volumes := make(chan error, 1)
	go func() { volumes <- w.m.c.Volumes.SetUp(ctx, pod) }()
	sandboxErr := w.createSandbox(ctx, pod, config)
	volumeErr := <-volumes
	w.reportVolumes(pod, volumeErr)
	w.volumesUp = volumeErr == nil
	return config, errors.Join(sandboxErr, volumeErr)
}

// preparable holds back a pod that has devices by claims: this kubelet knows no drivers that could prepare them.
func preparable(pod *v1.Pod) error {
	for i := range pod.Spec.ResourceClaims {
		if _, _, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i]); err != nil {
			return err
		}
	}
	for claim := range resourceclaim.PodClaims(pod) {
		return fmt.Errorf("claim %s: no DRA driver is registered with this kubelet", claim)
	}
	return nil
}

// reportVolumes makes events of volumes that could not be set up.
func (w *worker) reportVolumes(pod *v1.Pod, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	for _, one := range unjoin(err) {
		var failed *volume.Error
		if errors.As(one, &failed) {
			w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedMount", failed.Error())
		}
	}
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func (w *worker) sandboxConfig(pod *v1.Pod, attempt uint32) (*runtimeapi.PodSandboxConfig, error) {
	dns, err := w.m.c.DNS.For(pod)
	if err != nil {
		return nil, err
	}
	hostname := ""
	if !pod.Spec.HostNetwork || pod.Spec.HostnameOverride != nil {
		name, domain, err := podnetwork.Hostname(pod, w.m.c.ClusterDomain)
		if err != nil {
			return nil, err
		}
		if hostname, err = podnetwork.KernelHostname(pod, name, domain); err != nil {
			return nil, err
		}
	}
	users, err := w.m.c.Users.Of(pod)
	if err != nil {
		return nil, err
	}
	return w.m.c.Builder.Sandbox(runtime.SandboxRequest{
		Pod: pod, Attempt: attempt, Hostname: hostname, DNS: dns, CgroupParent: w.m.c.Cgroups.Group(pod), UserNS: users,
	}), nil
}

func (w *worker) createSandbox(ctx context.Context, pod *v1.Pod, config *runtimeapi.PodSandboxConfig) error {
	runtimeHandler, err := w.runtimeHandler(ctx, pod)
	if err != nil {
		w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		return err
	}
	if own := pod.Spec.HostUsers; own != nil && !*own && w.m.c.UserNamespaces != nil && !w.m.c.UserNamespaces(runtimeHandler) {
		err := fmt.Errorf("runtime handler %q does not support user namespaces", runtimeHandler)
		w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		return err
	}
	begun, giveUp := reluctant(ctx)
	defer giveUp()
	id, err := w.m.c.Runtime.RunPodSandbox(begun, config, runtimeHandler)
	if err != nil {
		if ctx.Err() == nil {
			w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		}
		return fmt.Errorf("create the pod sandbox: %w", err)
	}
	response, err := w.m.c.Runtime.PodSandboxStatus(begun, id, false)
	if err != nil {
		w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedPodSandBoxStatus", fmt.Sprintf("Unable to get pod sandbox status: %v", err))
		return err
	}
	w.m.c.Observer.ObserveSandbox(response.Status)
	return nil
}

// runtimeHandler finds the runtime that a pod's RuntimeClass names.
func (w *worker) runtimeHandler(ctx context.Context, pod *v1.Pod) (string, error) {
	class := pod.Spec.RuntimeClassName
	if class == nil || *class == "" || w.m.c.Client == nil {
		return "", nil
	}
	found, err := w.m.c.Client.NodeV1().RuntimeClasses().Get(ctx, *class, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return found.Handler, nil
}

// startAll starts the containers of a plan in their order. One that fails does not
// keep the others from starting.
func (w *worker) startAll(ctx context.Context, pod *v1.Pod, plan lifecycle.Plan, sandboxConfig *runtimeapi.PodSandboxConfig) outcome {
	var out outcome
	for _, start := range plan.Start {
		if ctx.Err() != nil {
			return outcome{err: ctx.Err()}
		}
		err := w.startContainer(ctx, pod, start, sandboxConfig)
		if err == nil {
			w.clearHeld(start.Spec.Name)
			continue
		}
		if ctx.Err() != nil {
			return outcome{err: ctx.Err()}
		}
		held, again := w.explain(pod, start, err)
		w.setHeld(held)
		if again > 0 && (out.again == 0 || again < out.again) {
			out.again = again
		}
		if again == 0 {
			out.err = errors.Join(out.err, err)
		}
	}
	return out
}

// startError is a step of a container's start that failed, with the reason that its
// status shows.
type startError struct {
	reason string
	err    error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// explain says how a failed start shows in the status, and when to try again if that
// is known.
func (w *worker) explain(pod *v1.Pod, start lifecycle.Start, err error) (lifecycle.Held, time.Duration) {
	held := lifecycle.Held{Name: start.Spec.Name, Reason: "CreateContainerError", Message: err.Error()}
	var noImage *image.Error
	var failed *startError
	switch {
	case errors.As(err, &noImage):
		held.Reason, held.Message = noImage.Reason, noImage.Message
		again := w.m.c.Images.BackOffLeft(pod, start.Spec.Image)
		if noImage.Reason == image.ReasonPull {
			// Soon show that the pull is held back.
			again = min(again, time.Second)
		}
		return held, max(again, time.Second)
	case errors.As(err, &failed):
		held.Reason, held.Message = failed.reason, failed.err.Error()
	}
	return held, 0
}

func (w *worker) startContainer(ctx context.Context, pod *v1.Pod, start lifecycle.Start, sandboxConfig *runtimeapi.PodSandboxConfig) error {
	c := start.Spec
	state := w.m.c.Observer.Get(w.uid)
	sandbox := state.Sandbox()
	if sandbox == nil {
		return errors.New("the pod has no sandbox")
	}
	picture, err := w.m.c.Images.Ensure(ctx, image.Request{
		Pod: pod, Container: c.Name, Image: c.Image, Policy: c.ImagePullPolicy, Secrets: w.pullSecrets(ctx, pod), Sandbox: sandboxConfig,
	})
	if err != nil {
		return err
	}
	config, err := w.containerConfig(ctx, pod, start, state, picture)
	if err != nil {
		if ctx.Err() == nil {
			w.m.c.Event(pod, c.Name, v1.EventTypeWarning, "Failed", fmt.Sprintf("Error: %v", err))
		}
		return &startError{reason: "CreateContainerConfigError", err: err}
	}
	if start.Restart {
		w.backOff.Grow(lifecycle.BackOffKey(c), time.Now())
	}
	id, err := w.m.c.Runtime.CreateContainer(ctx, sandbox.Id, config, sandboxConfig)
	if err != nil {
		err = plain(err)
		w.m.c.Event(pod, c.Name, v1.EventTypeWarning, "Failed", fmt.Sprintf("Error: %v", err))
		return &startError{reason: "CreateContainerError", err: err}
	}
	if !start.Ephemeral {
		w.noteActuated(c.Name, allocation.AmountsOf(pod, c))
	}
	w.m.c.Event(pod, c.Name, v1.EventTypeNormal, "Created", "Container created")
	postStart := c.Lifecycle != nil && c.Lifecycle.PostStart != nil && !start.Ephemeral
	if postStart {
		w.mu.Lock()
		w.hooking[id] = true
		w.mu.Unlock()
	}
	begun, giveUp := reluctant(ctx)
	defer giveUp()
	if err := w.m.c.Runtime.StartContainer(begun, id); err != nil {
		err = plain(err)
		w.m.c.Event(pod, c.Name, v1.EventTypeWarning, "Failed", fmt.Sprintf("Error: %v", err))
		w.look(ctx, sandbox.Id, id)
		w.hookEnded(id)
		return &startError{reason: "RunContainerError", err: err}
	}
	w.m.c.Event(pod, c.Name, v1.EventTypeNormal, "Started", "Container started")
	w.look(ctx, sandbox.Id, id)
	w.removeOlder(ctx, state, c.Name)
	if postStart {
		return w.postStart(ctx, pod, c, id)
	}
	return nil
}

// reluctant returns a context for a start, which ends only some time after its parent:
// containerd keeps a container, or a sandbox's, whose start is given up just when it has been
// made, counts it as running and neither stops nor removes it. It takes a start that hangs
// to be given up.
func reluctant(ctx context.Context) (context.Context, context.CancelFunc) {
	const patience = 10 * time.Second
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(patience):
			cancel()
		case <-later.Done():
		}
	})
	return later, func() { stop(); cancel() }
}

// plain takes off what gRPC puts around an error.
func plain(err error) error {
	text := err.Error()
	if i := strings.Index(text, "desc = "); i >= 0 {
		return errors.New(text[i+len("desc = "):])
	}
	return err
}

// look takes in a container's status without waiting for the runtime's event. Whoever stops the
// pod next has to know of it too, so it is not given up either.
func (w *worker) look(ctx context.Context, sandboxID, id string) {
	if response, err := w.m.c.Runtime.ContainerStatus(context.WithoutCancel(ctx), id, false); err == nil {
		w.m.c.Observer.ObserveContainer(sandboxID, response.Status)
	}
}

func (w *worker) postStart(ctx context.Context, pod *v1.Pod, c *v1.Container, id string) error {
	defer w.hookEnded(id)
	target := handler.HookTarget{Container: c, ContainerID: id, PodIP: w.podIP(pod, w.m.c.Observer.Get(w.uid))}
	err := handler.Hook(ctx, w.m.c.Runtime, target, c.Lifecycle.PostStart)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	w.m.c.Event(pod, c.Name, v1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	_, running := w.m.c.Observer.FindContainer(id)
	if running != nil {
		_ = w.stopContainer(ctx, stopRequest{pod: pod, container: running, spec: c, grace: graceOf(pod, nil), message: "FailedPostStartHook"})
	}
	return &startError{reason: "PostStartHookError", err: err}
}

func (w *worker) hookEnded(id string) {
	w.mu.Lock()
	delete(w.hooking, id)
	w.mu.Unlock()
	w.poke()
}

// removeOlder keeps one ended run of a container, for its logs and its last state.
func (w *worker) removeOlder(ctx context.Context, state *runtime.Pod, name string) {
	kept := false
	for _, c := range state.Containers {
		if c.Name() != name || !c.Exited() {
			continue
		}
		if !kept {
			kept = true
			continue
		}
		if w.m.c.Runtime.RemoveContainer(ctx, c.Id) == nil {
			w.m.c.Observer.Forget(c.Id)
			removeLog(c.GetLogPath())
		}
	}
}

// pullSecrets are those of the pod's imagePullSecrets that exist.
func (w *worker) pullSecrets(ctx context.Context, pod *v1.Pod) []*v1.Secret {
	var out []*v1.Secret
	var missing []string
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name == "" || w.m.c.Objects == nil {
			continue
		}
		secret, err := w.m.c.Objects.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			missing = append(missing, ref.Name)
			continue
		}
		out = append(out, secret)
	}
	if len(missing) > 0 {
		w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf(
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
	return out
}

func (w *worker) containerConfig(ctx context.Context, pod *v1.Pod, start lifecycle.Start, state *runtime.Pod, picture *runtimeapi.Image) (*runtimeapi.ContainerConfig, error) {
	c := start.Spec
	services, err := w.m.c.Services(ctx)
	if err != nil {
		return nil, err
	}
	ips := w.podIPs(pod, state)
	variables, err := environment.Make(ctx, environment.Request{
		Pod: pod, Container: c,
		Addresses:   environment.Addresses{Pod: ips, Host: w.hostIPs()},
		Allocatable: w.m.c.Allocatable(),
		Services:    services,
		Objects:     w.objects(),
		VolumePath:  func(name string) (string, error) { return w.m.c.Volumes.Path(w.uid, name) },
		Skipped: func(object string, keys []string) {
			w.m.c.Event(pod, "", v1.EventTypeWarning, "InvalidEnvironmentVariableNames", fmt.Sprintf(
				"Keys [%s] from the EnvFrom %s were skipped since they are considered invalid environment variable names.", strings.Join(keys, ", "), object))
		},
	})
	if err != nil {
		return nil, err
	}
	name, domain, err := podnetwork.Hostname(pod, w.m.c.ClusterDomain)
	if err != nil {
		return nil, err
	}
	hosts, err := podnetwork.HostsFile(pod, ips, name, domain)
	if err != nil {
		return nil, err
	}
	mounts, err := w.m.c.Volumes.Mounts(volume.MountRequest{
		Pod: pod, Container: c, HostsFile: hosts, Lookup: variables.Lookup, RecursiveReadOnly: w.m.c.RecursiveReadOnly != nil && w.m.c.RecursiveReadOnly(),
		Image: func(name string) (*runtimeapi.ImageSpec, error) { return w.volumeImage(ctx, pod, c, name) },
	})
	if err != nil {
		return nil, err
	}
	users, err := w.m.c.Users.Of(pod)
	if err != nil {
		return nil, err
	}
	request := runtime.ContainerRequest{
		Pod: pod, Container: c, Attempt: start.Attempt, Image: picture, UserNS: users,
		Command: environment.ExpandAll(c.Command, variables.Lookup),
		Args:    environment.ExpandAll(c.Args, variables.Lookup),
		Env:     variables.CRI(), Mounts: mounts,
	}
	if start.TargetName != "" {
		if target := state.Container(start.TargetName); target != nil {
			request.TargetID = target.Id
		} else {
			return nil, fmt.Errorf("unable to find target container %s", start.TargetName)
		}
	}
	return w.m.c.Builder.Container(request)
}

// volumeImage has the runtime pull the image of an image volume (KEP-4639).
func (w *worker) volumeImage(ctx context.Context, pod *v1.Pod, c *v1.Container, name string) (*runtimeapi.ImageSpec, error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Name != name || v.Image == nil {
			continue
		}
		found, err := w.m.c.Images.Ensure(ctx, image.Request{
			Pod: pod, Container: c.Name, Image: v.Image.Reference, Policy: v.Image.PullPolicy, Secrets: w.pullSecrets(ctx, pod),
		})
		if err != nil {
			return nil, err
		}
		return &runtimeapi.ImageSpec{Image: found.Id, UserSpecifiedImage: v.Image.Reference}, nil
	}
	return nil, fmt.Errorf("cannot find image volume %q", name)
}

func (w *worker) hostIPs() []string {
	var out []string
	for _, ip := range w.m.c.HostIPs() {
		out = append(out, ip.String())
	}
	return out
}

func (w *worker) objects() environment.Objects {
	if w.m.c.Objects == nil {
		return noObjects{}
	}
	return w.m.c.Objects
}

// noObjects stands for the API server where there is none.
type noObjects struct{}

func (noObjects) ConfigMap(context.Context, string, string) (*v1.ConfigMap, error) {
	return nil, errors.New("config maps need an API server")
}

func (noObjects) Secret(context.Context, string, string) (*v1.Secret, error) {
	return nil, errors.New("secrets need an API server")
}
