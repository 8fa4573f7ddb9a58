package verdict

import (
	"context"
	"fmt"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
)

// instant is an API server that binds, marks and deletes pods at once and keeps nothing.
type instant struct {
	kubernetes.Interface
	done done
}

// done tells of what was asked of the API server.
type done struct {
	bound   chan struct{}
	deleted chan string // names of pods
}

type instantCore struct {
	typedcorev1.CoreV1Interface
	done done
}

type instantPods struct {
	typedcorev1.PodInterface
	done done
}

func (i instant) CoreV1() typedcorev1.CoreV1Interface {
	return instantCore{i.Interface.CoreV1(), i.done}
}

func (i instantCore) Pods(namespace string) typedcorev1.PodInterface {
	return instantPods{i.CoreV1Interface.Pods(namespace), i.done}
}

func (i instantPods) Bind(context.Context, *v1.Binding, metav1.CreateOptions) error {
	i.done.bound <- struct{}{}
	return nil
}

func (i instantPods) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*v1.Pod, error) {
	return nil, nil
}

func (i instantPods) Delete(_ context.Context, name string, _ metav1.DeleteOptions) error {
	i.done.deleted <- name
	return nil
}

// silent records no events.
type silent struct{}

func (silent) Eventf(apiruntime.Object, apiruntime.Object, string, string, string, string, ...any) {}
func (s silent) WithLogger(klog.Logger) events.EventRecorderLogger                                 { return s }

// schedule schedules copies of the pod, each from its entering the queue to its binding. All must fit.
func (c *cluster) schedule(ctx context.Context, pod *v1.Pod, count int) *Effort {
	pods := make([]*v1.Pod, count)
	for i := range pods {
		c.made++
		pods[i] = pod.DeepCopy()
		pods[i].Name = fmt.Sprintf("scheduled-%d", c.made)
		pods[i].UID = types.UID(pods[i].Name)
	}
	c.scheduler.Percentage = 0
	start, computed := time.Now(), computing()
	for _, p := range pods {
		c.scheduler.Queue.Add(p)
		c.scheduler.Schedule(ctx, c.scheduler.Queue.Pop())
	}
	for range pods {
		<-c.done.bound
	}
	return &Effort{Seconds: time.Since(start).Seconds(), CPU: (computing() - computed).Seconds()}
}

// computing is how long the process has computed.
func computing() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
