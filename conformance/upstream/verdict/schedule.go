package main

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

// instant is an API server that binds at once and keeps nothing.
type instant struct {
	kubernetes.Interface
	bound chan struct{}
}

type instantCore struct {
	typedcorev1.CoreV1Interface
	bound chan struct{}
}

type instantPods struct {
	typedcorev1.PodInterface
	bound chan struct{}
}

func (i instant) CoreV1() typedcorev1.CoreV1Interface {
	return instantCore{i.Interface.CoreV1(), i.bound}
}

func (i instantCore) Pods(namespace string) typedcorev1.PodInterface {
	return instantPods{i.CoreV1Interface.Pods(namespace), i.bound}
}

func (i instantPods) Bind(context.Context, *v1.Binding, metav1.CreateOptions) error {
	i.bound <- struct{}{}
	return nil
}

// silent records no events.
type silent struct{}

func (silent) Eventf(apiruntime.Object, apiruntime.Object, string, string, string, string, ...any) {}
func (s silent) WithLogger(klog.Logger) events.EventRecorderLogger                                 { return s }

// schedule schedules copies of the pod, each from its entering the queue to its binding. All must fit.
func (c *cluster) schedule(l *load) (*effort, error) {
	pod, err := decode[*v1.Pod](l.Pod)
	if err != nil {
		return nil, err
	}
	pods := make([]*v1.Pod, l.Count)
	for i := range pods {
		c.made++
		pods[i] = pod.DeepCopy()
		pods[i].Name = fmt.Sprintf("scheduled-%d", c.made)
		pods[i].UID = types.UID(pods[i].Name)
	}
	start, computed := time.Now(), computing()
	for _, p := range pods {
		c.scheduler.SchedulingQueue.Add(c.ctx, p)
		c.scheduler.ScheduleOne(c.ctx)
	}
	for range pods {
		<-c.bound
	}
	return &effort{Seconds: time.Since(start).Seconds(), CPU: (computing() - computed).Seconds()}, nil
}

// computing is how long the process has computed.
func computing() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
