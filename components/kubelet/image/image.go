// Package image makes sure that the images of containers are on this node: it holds
// to the pull policy, finds credentials, and backs off from pulls that fail.
// See https://kubernetes.io/docs/concepts/containers/images/.
package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/flowcontrol"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The reasons for which a container waits for its image.
const (
	ReasonPull        = "ErrImagePull"
	ReasonBackOff     = "ImagePullBackOff"
	ReasonNeverPull   = "ErrImageNeverPull"
	ReasonInspect     = "ImageInspectError"
	ReasonInvalidName = "InvalidImageName"
	initialBackOff    = 10 * time.Second
	longestBackOff    = 5 * time.Minute
)

// Error says why an image is not there, in the terms of a container's waiting state.
type Error struct {
	Reason  string
	Message string
}

func (e *Error) Error() string { return e.Message }

// Record is told what happens, as events on the pod.
type Record func(pod *v1.Pod, container, eventType, reason, message string)

// Config is what a Manager needs.
type Config struct {
	Service internalapi.ImageManagerService
	Record  Record
	// Parallel is how many pulls may run at once; 0 is any number.
	Parallel int
}

// Manager brings images to the node.
type Manager struct {
	service internalapi.ImageManagerService
	record  Record
	slots   chan struct{}
	backOff *flowcontrol.Backoff

	mu       sync.Mutex
	failures map[string]string
}

// New returns a manager.
func New(c Config) *Manager {
	m := &Manager{
		service: c.Service, record: c.Record,
		backOff:  flowcontrol.NewBackOff(initialBackOff, longestBackOff),
		failures: map[string]string{},
	}
	if c.Parallel > 0 {
		m.slots = make(chan struct{}, c.Parallel)
	}
	return m
}

// Request is one container's need for an image.
type Request struct {
	Pod *v1.Pod
	// Container is the container's name, Image its image as the pod names it.
	Container, Image string
	Policy           v1.PullPolicy
	Secrets          []*v1.Secret
	Sandbox          *runtimeapi.PodSandboxConfig
	RuntimeHandler   string
}

// Ensure returns the image of a container, pulling it if the policy says so. It
// fails with an *Error.
func (m *Manager) Ensure(ctx context.Context, r Request) (*runtimeapi.Image, error) {
	name := Normalize(r.Image)
	spec := &runtimeapi.ImageSpec{Image: name, RuntimeHandler: r.RuntimeHandler}
	if _, err := reference.ParseNormalizedNamed(r.Image); err != nil {
		return nil, m.refuse(r, v1.EventTypeWarning, "InspectFailed", ReasonInvalidName, fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", r.Image, r.Image, err))
	}
	policy := r.Policy
	if policy == "" {
		policy = v1.PullIfNotPresent
	}
	if policy != v1.PullAlways {
		present, err := m.lookUp(ctx, spec)
		if err != nil {
			return nil, m.refuse(r, v1.EventTypeWarning, "InspectFailed", ReasonInspect, fmt.Sprintf("Failed to inspect image %q: %v", r.Image, err))
		}
		if present != nil {
			m.record(r.Pod, r.Container, v1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", r.Image))
			return present, nil
		}
		if policy == v1.PullNever {
			return nil, m.refuse(r, v1.EventTypeWarning, "ErrImageNeverPull", ReasonNeverPull, fmt.Sprintf("Container image %q is not present with pull policy of Never", r.Image))
		}
	}
	return m.pull(ctx, r, spec)
}

func (m *Manager) pull(ctx context.Context, r Request, spec *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	key := string(r.Pod.UID) + "/" + r.Image
	if m.backOff.IsInBackOffSinceUpdate(key, m.backOff.Clock.Now()) {
		m.mu.Lock()
		last := m.failures[key]
		m.mu.Unlock()
		message := fmt.Sprintf("Back-off pulling image %q", r.Image)
		m.record(r.Pod, r.Container, v1.EventTypeNormal, "BackOff", message)
		if last != "" {
			message = fmt.Sprintf("%s: %s: %s", message, ReasonPull, last)
		}
		return nil, &Error{Reason: ReasonBackOff, Message: message}
	}
	credentials, err := Credentials(r.Image, r.Secrets)
	if err != nil {
		return nil, m.refuse(r, v1.EventTypeWarning, "Failed", ReasonPull, err.Error())
	}
	m.record(r.Pod, r.Container, v1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", r.Image))
	asked := time.Now()
	if m.slots != nil {
		select {
		case m.slots <- struct{}{}:
			defer func() { <-m.slots }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	began := time.Now()
	for _, auth := range credentials {
		if _, err = m.service.PullImage(ctx, spec, auth, r.Sandbox); err == nil {
			break
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		m.backOff.Next(key, m.backOff.Clock.Now())
		message := fmt.Sprintf("failed to pull image %q: %v", r.Image, err)
		m.mu.Lock()
		m.failures[key] = message
		m.mu.Unlock()
		m.record(r.Pod, r.Container, v1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", r.Image, message))
		m.record(r.Pod, r.Container, v1.EventTypeWarning, "Failed", "Error: "+ReasonPull)
		return nil, &Error{Reason: ReasonPull, Message: message}
	}
	m.backOff.DeleteEntry(key)
	image, err := m.lookUp(ctx, spec)
	if err != nil || image == nil {
		return nil, &Error{Reason: ReasonInspect, Message: fmt.Sprintf("Failed to inspect image %q: %v", r.Image, errors.Join(err, errors.New("it is not there after the pull")))}
	}
	m.record(r.Pod, r.Container, v1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
		r.Image, time.Since(began).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond), image.Size))
	return image, nil
}

// BackOffLeft says how long until a failed pull is tried again.
func (m *Manager) BackOffLeft(pod *v1.Pod, image string) time.Duration {
	return m.backOff.Get(string(pod.UID) + "/" + image)
}

// Forget drops the pull failures of a pod's images.
func (m *Manager) Forget(pod *v1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.failures {
		if strings.HasPrefix(key, string(pod.UID)+"/") {
			delete(m.failures, key)
			m.backOff.DeleteEntry(key)
		}
	}
}

func (m *Manager) lookUp(ctx context.Context, spec *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	response, err := m.service.ImageStatus(ctx, spec, false)
	if err != nil {
		return nil, err
	}
	return response.Image, nil
}

func (m *Manager) refuse(r Request, eventType, event, reason, message string) error {
	m.record(r.Pod, r.Container, eventType, event, message)
	return &Error{Reason: reason, Message: message}
}

// Normalize gives an image name the tag it means when it has none.
func Normalize(image string) string {
	name := image[strings.LastIndex(image, "/")+1:]
	if strings.ContainsAny(name, ":@") {
		return image
	}
	return image + ":latest"
}
