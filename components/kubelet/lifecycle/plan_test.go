package lifecycle

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// made describes a container in the runtime.
type made struct {
	name     string
	state    runtimeapi.ContainerState
	exit     int32
	restarts string
	sandbox  string
	age      time.Duration
}

const (
	created = runtimeapi.ContainerState_CONTAINER_CREATED
	running = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited  = runtimeapi.ContainerState_CONTAINER_EXITED
)

func stateOf(pod *v1.Pod, sandboxReady bool, containers ...made) *runtime.Pod {
	state := runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	if sandboxReady {
		state = runtimeapi.PodSandboxState_SANDBOX_READY
	}
	out := &runtime.Pod{Sandboxes: []*runtime.Sandbox{{PodSandboxStatus: &runtimeapi.PodSandboxStatus{
		Id: "sb", Metadata: &runtimeapi.PodSandboxMetadata{Attempt: 3}, State: state, Network: &runtimeapi.PodSandboxNetworkStatus{Ip: "10.88.0.2"},
	}}}}
	for _, m := range containers {
		hash := ""
		for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if list[i].Name == m.name {
					hash = runtime.SpecHash(&list[i])
				}
			}
		}
		sandbox := m.sandbox
		if sandbox == "" {
			sandbox = "sb"
		}
		out.Containers = append(out.Containers, &runtime.Container{SandboxID: sandbox, ContainerStatus: &runtimeapi.ContainerStatus{
			Id: m.name, State: m.state, ExitCode: m.exit, FinishedAt: noon.Add(-m.age).UnixNano(),
			Labels:      map[string]string{"io.kubernetes.container.name": m.name},
			Annotations: map[string]string{"io.kubernetes.container.hash": hash, "io.kubernetes.container.restartCount": m.restarts},
		}})
	}
	return out
}

func podOf(policy v1.RestartPolicy, init ...string) *v1.Pod {
	always := v1.ContainerRestartPolicyAlways
	pod := &v1.Pod{Spec: v1.PodSpec{RestartPolicy: policy, Containers: []v1.Container{{Name: "a", Image: "x"}, {Name: "b", Image: "x"}}}}
	for _, name := range init {
		c := v1.Container{Name: name, Image: "x"}
		if strings.HasPrefix(name, "side") {
			c.RestartPolicy = &always
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	return pod
}

// describe renders a plan as short text.
func describe(p Plan) string {
	var out []string
	if p.ReplaceSandbox {
		out = append(out, "replace")
	}
	if p.CreateSandbox {
		out = append(out, "sandbox")
	}
	for _, c := range p.Remove {
		out = append(out, "remove:"+c.Name())
	}
	for _, s := range p.Stop {
		out = append(out, "stop:"+s.Spec.Name)
	}
	for _, s := range p.Start {
		text := "start:" + s.Spec.Name
		if s.Attempt > 0 {
			text += "#" + string(rune('0'+s.Attempt))
		}
		out = append(out, text)
	}
	for _, h := range p.Held {
		out = append(out, "hold:"+h.Name)
	}
	return strings.Join(out, " ")
}

func TestNext(t *testing.T) {
	tests := []struct {
		name      string
		pod       *v1.Pod
		noSandbox bool
		notReady  bool
		have      []made
		unhealthy string
		starting  string
		want      string
	}{
		{name: "new pod", pod: podOf(v1.RestartPolicyAlways), noSandbox: true, want: "sandbox start:a start:b"},
		{name: "new pod with init containers starts the first only", pod: podOf(v1.RestartPolicyAlways, "i", "j"), noSandbox: true, want: "sandbox start:i"},
		{name: "all runs", pod: podOf(v1.RestartPolicyAlways), have: []made{{name: "a", state: running}, {name: "b", state: running}}, want: ""},
		{name: "init runs", pod: podOf(v1.RestartPolicyAlways, "i"), have: []made{{name: "i", state: running}}, want: ""},
		{name: "next init", pod: podOf(v1.RestartPolicyAlways, "i", "j"), have: []made{{name: "i", state: exited}}, want: "start:j"},
		{name: "init done", pod: podOf(v1.RestartPolicyAlways, "i"), have: []made{{name: "i", state: exited}}, want: "start:a start:b"},
		{name: "init failed, policy Never", pod: podOf(v1.RestartPolicyNever, "i"), have: []made{{name: "i", state: exited, exit: 1}}, want: ""},
		{name: "init failed is restarted", pod: podOf(v1.RestartPolicyAlways, "i"), have: []made{{name: "i", state: exited, exit: 1, restarts: "0"}}, want: "start:i#1"},
		{name: "sidecar that has not started up holds the others", pod: podOf(v1.RestartPolicyAlways, "side"), have: []made{{name: "side", state: running}}, starting: "side", want: ""},
		{name: "sidecar started up", pod: podOf(v1.RestartPolicyAlways, "side"), have: []made{{name: "side", state: running}}, want: "start:a start:b"},
		{name: "sidecar ended while the others run", pod: podOf(v1.RestartPolicyNever, "side"), have: []made{{name: "side", state: exited, restarts: "0"}, {name: "a", state: running}, {name: "b", state: running}}, want: "start:side#1"},
		{name: "ended, Always", pod: podOf(v1.RestartPolicyAlways), have: []made{{name: "a", state: exited, restarts: "2"}, {name: "b", state: running}}, want: "start:a#3"},
		{name: "ended well, OnFailure", pod: podOf(v1.RestartPolicyOnFailure), have: []made{{name: "a", state: exited}, {name: "b", state: running}}, want: ""},
		{name: "failed, Never", pod: podOf(v1.RestartPolicyNever), have: []made{{name: "a", state: exited, exit: 1}, {name: "b", state: running}}, want: ""},
		{name: "unhealthy", pod: podOf(v1.RestartPolicyAlways), have: []made{{name: "a", state: running}, {name: "b", state: running}}, unhealthy: "b", want: "stop:b"},
		{name: "made but never started", pod: podOf(v1.RestartPolicyAlways), have: []made{{name: "a", state: created}, {name: "b", state: running}}, want: "remove:a start:a"},
		{name: "sandbox lost", pod: podOf(v1.RestartPolicyAlways), notReady: true, have: []made{{name: "a", state: exited, restarts: "0"}, {name: "b", state: exited, restarts: "1"}}, want: "sandbox start:a#1 start:b#2"},
		{name: "sandbox lost while a container runs", pod: podOf(v1.RestartPolicyAlways), notReady: true, have: []made{{name: "a", state: running, restarts: "0"}, {name: "b", state: exited, restarts: "0"}}, want: "replace sandbox start:a#1 start:b#1"},
		{name: "sandbox lost after all was done", pod: podOf(v1.RestartPolicyNever), notReady: true, have: []made{{name: "a", state: exited}, {name: "b", state: exited}}, want: ""},
		{name: "init runs again in a new sandbox", pod: podOf(v1.RestartPolicyAlways, "i"), have: []made{{name: "i", state: exited, restarts: "0", sandbox: "older"}}, want: "start:i#1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			state := stateOf(test.pod, !test.notReady, test.have...)
			if test.noSandbox {
				state = nil
			}
			plan := Next(Input{
				Pod: test.pod, State: state, Now: noon, BackOff: NewBackOff(5 * time.Minute),
				Health: func(c *runtime.Container) Health {
					h := Health{Started: c.Name() != test.starting}
					if c.Name() == test.unhealthy {
						h.Unhealthy = "liveness"
					}
					return h
				},
			})
			if got := describe(plan); got != test.want {
				t.Errorf("plan %q, want %q", got, test.want)
			}
		})
	}
}

func TestRestartWaitsForItsBackOff(t *testing.T) {
	pod := podOf(v1.RestartPolicyAlways)
	backOff := NewBackOff(5 * time.Minute)
	in := Input{
		Pod: pod, Now: noon, BackOff: backOff,
		State:  stateOf(pod, true, made{name: "a", state: exited, exit: 1, age: 4 * time.Second}, made{name: "b", state: running}),
		Health: func(*runtime.Container) Health { return Health{Started: true} },
	}
	if got := describe(Next(in)); got != "start:a#1" {
		t.Fatalf("the first restart must not wait: %q", got)
	}
	backOff.Grow(BackOffKey(&pod.Spec.Containers[0]), noon.Add(-5*time.Second))
	plan := Next(in)
	if got := describe(plan); got != "hold:a" || plan.Again != 6*time.Second {
		t.Errorf("plan %q, again in %v; want a held for the 6s left of 10s", got, plan.Again)
	}
	if want := "back-off 10s restarting failed container=a"; !strings.HasPrefix(plan.Held[0].Message, want) || plan.Held[0].Reason != "CrashLoopBackOff" {
		t.Errorf("held %+v, want %q", plan.Held[0], want)
	}
}

func TestBackOffDoublesAndForgives(t *testing.T) {
	b := NewBackOff(5 * time.Minute)
	now := noon
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		b.Grow("c", now)
		if left, length := b.Left("c", now, now); length != want*time.Second || left != length {
			t.Fatalf("delay %v (left %v), want %v", length, left, want*time.Second)
		}
		now = now.Add(time.Minute)
	}
	if left, _ := b.Left("c", now.Add(11*time.Minute), now.Add(11*time.Minute)); left != 0 {
		t.Errorf("a container that ran for more than ten minutes still waits %v", left)
	}
}

func TestShouldRestart(t *testing.T) {
	never := v1.ContainerRestartPolicyNever
	tests := []struct {
		name   string
		policy v1.RestartPolicy
		own    *v1.ContainerRestartPolicy
		rules  []v1.ContainerRestartRule
		code   int32
		want   bool
	}{
		{"always", v1.RestartPolicyAlways, nil, nil, 0, true},
		{"on failure, success", v1.RestartPolicyOnFailure, nil, nil, 0, false},
		{"on failure, failure", v1.RestartPolicyOnFailure, nil, nil, 1, true},
		{"never", v1.RestartPolicyNever, nil, nil, 1, false},
		{"own policy wins", v1.RestartPolicyAlways, &never, nil, 1, false},
		{"rule matches", v1.RestartPolicyNever, &never, []v1.ContainerRestartRule{{
			Action:    v1.ContainerRestartRuleActionRestart,
			ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
		}}, 42, true},
		{"rule does not match", v1.RestartPolicyNever, &never, []v1.ContainerRestartRule{{
			Action:    v1.ContainerRestartRuleActionRestart,
			ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpNotIn, Values: []int32{42}},
		}}, 42, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := &v1.Pod{Spec: v1.PodSpec{RestartPolicy: test.policy}}
			c := &v1.Container{Name: "c", RestartPolicy: test.own, RestartPolicyRules: test.rules}
			if got := ShouldRestart(pod, c, test.code); got != test.want {
				t.Errorf("restart %v, want %v", got, test.want)
			}
		})
	}
}
