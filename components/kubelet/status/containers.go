package status

import (
	"os"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

const (
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
	// maxMessage is how much of a termination message is kept.
	maxMessage = 4096
)

func (g *generator) containers() (init, regular, ephemeral []v1.ContainerStatus) {
	pod := g.Pod
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		init = append(init, g.container(c, g.Previous.InitContainerStatuses, initKind(c)))
	}
	for i := range pod.Spec.Containers {
		regular = append(regular, g.container(&pod.Spec.Containers[i], g.Previous.ContainerStatuses, regularKind))
	}
	for i := range pod.Spec.EphemeralContainers {
		c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		ephemeral = append(ephemeral, g.container(&c, g.Previous.EphemeralContainerStatuses, ephemeralKind))
	}
	return init, regular, ephemeral
}

type kind int

const (
	regularKind kind = iota
	onceKind         // an init container that runs once
	sidecarKind
	ephemeralKind
)

func initKind(c *v1.Container) kind {
	if lifecycle.IsSidecar(c) {
		return sidecarKind
	}
	return onceKind
}

// container is the status of one container.
func (g *generator) container(c *v1.Container, previous []v1.ContainerStatus, k kind) v1.ContainerStatus {
	before := Find(previous, c.Name)
	newest := g.State.Container(c.Name)
	if newest == nil {
		return g.withoutContainer(c, before, k)
	}
	out := g.fromRuntime(c, newest, k)
	if out.State.Terminated == nil {
		if older := g.State.Previous(c.Name); older != nil && older.Exited() {
			out.LastTerminationState.Terminated = g.terminated(older)
		} else if before != nil && before.ContainerID == out.ContainerID {
			out.LastTerminationState = before.LastTerminationState
		} else if before != nil && before.State.Terminated != nil {
			out.LastTerminationState = before.State
		} else if before != nil {
			out.LastTerminationState = before.LastTerminationState
		}
	} else if before != nil && before.ContainerID == out.ContainerID {
		out.LastTerminationState = before.LastTerminationState
	}
	held, ok := g.Held[c.Name]
	if !ok && g.restarting(c.Name) && g.Pod.DeletionTimestamp == nil && !g.Ended &&
		before != nil && before.State.Running != nil && before.ContainerID == out.ContainerID {
		// Nobody is told of the moment between a container and the one that replaces it:
		// upstream's kubelet does both before it looks again.
		return *before.DeepCopy()
	}
	if !ok && g.restarting(c.Name) {
		held, ok = lifecycle.Held{Reason: reasonCreating}, true
	}
	if ok && g.comesBack(c, newest, k) {
		if out.State.Terminated != nil {
			out.LastTerminationState = out.State
		}
		out.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: held.Reason, Message: held.Message}}
	}
	g.readiness(c, newest, &out, k)
	return out
}

// toBeStarted is what a container waits for that has not run yet, whether the runtime has
// made it or not: to whoever looks, those are one.
func (g *generator) toBeStarted(k kind) *v1.ContainerStateWaiting {
	if len(g.Pod.Spec.InitContainers) > 0 && k != ephemeralKind {
		return &v1.ContainerStateWaiting{Reason: reasonInitializing}
	}
	return &v1.ContainerStateWaiting{Reason: reasonCreating}
}

// withoutContainer is the status of a container of which the runtime has nothing.
func (g *generator) withoutContainer(c *v1.Container, before *v1.ContainerStatus, k kind) v1.ContainerStatus {
	started := false
	out := v1.ContainerStatus{Name: c.Name, Image: c.Image, Started: &started}
	waiting := g.toBeStarted(k)
	if held, ok := g.Held[c.Name]; ok {
		waiting = &v1.ContainerStateWaiting{Reason: held.Reason, Message: held.Message}
	}
	if before != nil && before.ContainerID != "" {
		// It was there once and is lost, as with all containers of a machine that was set up anew.
		out.RestartCount, out.LastTerminationState = before.RestartCount, before.LastTerminationState
		if before.State.Terminated != nil {
			out.State, out.ContainerID, out.ImageID = before.State, before.ContainerID, before.ImageID
			out.Ready = k == onceKind && before.State.Terminated.ExitCode == 0
			return out
		}
		if before.State.Running != nil {
			lost := v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
				Reason:   "ContainerStatusUnknown",
				Message:  "The container could not be located when the pod was deleted.  The container used to be Running",
				ExitCode: 137,
			}}
			if g.Ended {
				out.State = lost
				return out
			}
			out.LastTerminationState = lost
		}
	}
	if k == onceKind && g.anyRegularMade() {
		out.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
			Reason:  "Completed",
			Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally",
		}}
		out.Ready = true
		return out
	}
	if g.Ended && k == regularKind && g.initDone() {
		// The pod ended before this container could begin.
		out.State.Terminated = &v1.ContainerStateTerminated{
			Reason:   "ContainerStatusUnknown",
			Message:  "The container could not be located when the pod was terminated",
			ExitCode: 137,
		}
		return out
	}
	out.State.Waiting = waiting
	return out
}

// comesBack says whether a container that does not run is to be started again.
func (g *generator) comesBack(c *v1.Container, newest *runtime.Container, k kind) bool {
	switch {
	case newest.Running() || g.Ended:
		return false
	case newest.Exited() && g.Restarting != nil && g.Restarting(newest.Id):
		return true
	case !newest.Exited():
		return true
	case k == onceKind || k == sidecarKind:
		return lifecycle.IsSidecar(c) || lifecycle.InitShouldRestart(g.Pod, c, newest.ExitCode)
	}
	return k == regularKind && lifecycle.ShouldRestart(g.Pod, c, newest.ExitCode)
}

// initDone says whether all init containers have done their part.
func (g *generator) initDone() bool {
	for i := range g.Pod.Spec.InitContainers {
		c := &g.Pod.Spec.InitContainers[i]
		have := g.State.Container(c.Name)
		if have == nil || !lifecycle.IsSidecar(c) && (!have.Exited() || have.ExitCode != 0) {
			return false
		}
	}
	return true
}

func (g *generator) anyRegularMade() bool {
	return slices.ContainsFunc(g.Pod.Spec.Containers, func(c v1.Container) bool { return g.State.Container(c.Name) != nil })
}

// fromRuntime is what the runtime says of a container.
func (g *generator) fromRuntime(c *v1.Container, have *runtime.Container, k kind) v1.ContainerStatus {
	image := have.GetImage().GetUserSpecifiedImage()
	if image == "" {
		image = have.GetImage().GetImage()
	}
	out := v1.ContainerStatus{
		Name:         c.Name,
		Image:        image,
		ImageID:      have.ImageRef,
		ContainerID:  g.RuntimeName + "://" + have.Id,
		RestartCount: have.RestartCount(),
		VolumeMounts: mountStatuses(c, have),
	}
	switch {
	case have.Running():
		out.State.Running = &v1.ContainerStateRunning{StartedAt: metav1.NewTime(have.StartedAtTime())}
	case have.Exited():
		out.State.Terminated = g.terminated(have)
	default:
		out.State.Waiting = g.toBeStarted(k)
	}
	g.containerResources(c, have, &out)
	if user := have.GetUser().GetLinux(); user != nil && have.Running() {
		out.User = &v1.ContainerUser{Linux: &v1.LinuxContainerUser{
			UID: user.Uid, GID: user.Gid, SupplementalGroups: user.SupplementalGroups,
		}}
	}
	return out
}

// mountStatuses reports how volumes were mounted (KEP-3857).
func mountStatuses(c *v1.Container, have *runtime.Container) []v1.VolumeMountStatus {
	var out []v1.VolumeMountStatus
	for _, spec := range c.VolumeMounts {
		status := v1.VolumeMountStatus{Name: spec.Name, MountPath: spec.MountPath, ReadOnly: spec.ReadOnly}
		if spec.ReadOnly {
			mode := v1.RecursiveReadOnlyDisabled
			for _, m := range have.GetMounts() {
				if m.ContainerPath == spec.MountPath && m.RecursiveReadOnly {
					mode = v1.RecursiveReadOnlyEnabled
				}
			}
			status.RecursiveReadOnly = &mode
		}
		out = append(out, status)
	}
	return out
}

func (g *generator) terminated(c *runtime.Container) *v1.ContainerStateTerminated {
	out := &v1.ContainerStateTerminated{
		ExitCode:    c.ExitCode,
		Reason:      c.Reason,
		Message:     c.Message,
		StartedAt:   metav1.NewTime(c.StartedAtTime()),
		FinishedAt:  metav1.NewTime(c.FinishedAtTime()),
		ContainerID: g.RuntimeName + "://" + c.Id,
	}
	if out.Reason == "" {
		out.Reason = "Completed"
		if out.ExitCode != 0 {
			out.Reason = "Error"
		}
	}
	if message := lastWords(c); message != "" {
		out.Message = message
	}
	return out
}

// lastWords reads what a container left at its termination message path, or the
// tail of its log where the policy says so and it failed without a word.
// See https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/.
func lastWords(c *runtime.Container) string {
	path, policy := c.TerminationMessage()
	if path != "" {
		if raw, err := readTail(path, maxMessage); err == nil && raw != "" {
			return raw
		}
	}
	if policy == v1.TerminationMessageFallbackToLogsOnError && c.ExitCode != 0 {
		return logTail(c.GetLogPath())
	}
	return ""
}

func readTail(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	size := info.Size()
	from := max(size-limit, 0)
	raw := make([]byte, size-from)
	n, err := f.ReadAt(raw, from)
	if n > 0 {
		err = nil
	}
	return string(raw[:n]), err
}

// logTail gives the last lines of a container's log, at most 80 of them and 2 KiB.
func logTail(path string) string {
	const lines, size = 80, 2048
	raw, err := readTail(path, 16*size)
	if err != nil {
		return ""
	}
	records := strings.Split(strings.TrimSuffix(raw, "\n"), "\n")
	records = records[max(len(records)-lines, 0):]
	var out strings.Builder
	for _, record := range records {
		// time stream tag text
		parts := strings.SplitN(record, " ", 4)
		if len(parts) < 4 {
			continue
		}
		out.WriteString(parts[3])
		if parts[2] != "P" {
			out.WriteByte('\n')
		}
	}
	text := out.String()
	return text[max(len(text)-size, 0):]
}

// readiness fills in whether a container has started up and is ready.
func (g *generator) readiness(c *v1.Container, newest *runtime.Container, out *v1.ContainerStatus, k kind) {
	started := false
	switch {
	case k == onceKind:
		out.Ready = out.State.Terminated != nil && out.State.Terminated.ExitCode == 0
		started = out.State.Running != nil
	case out.State.Running != nil && k != ephemeralKind:
		started = g.Started(newest.Id)
		out.Ready = started && g.ReadyNow(newest.Id, c)
	}
	out.Started = &started
}

// Find returns the status of a name, or nil.
func Find(list []v1.ContainerStatus, name string) *v1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}
