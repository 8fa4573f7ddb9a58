package hollow

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// syncPod takes the steps of a pod that are due, one after the other.
func (f *Fleet) syncPod(ctx context.Context, p *pod) {
	for ctx.Err() == nil {
		now := time.Now()
		f.mu.Lock()
		what, due := f.plan(p)
		if what == idle {
			f.mu.Unlock()
			return
		}
		if due.After(now) {
			f.agenda.at(due, &p.next)
			f.mu.Unlock()
			return
		}
		send := f.prepare(p, what, now)
		f.mu.Unlock()
		err := send(ctx)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return // It is gone, or another one of its name is there; the watch tells.
		}
		f.mu.Lock()
		if err != nil {
			p.retry = min(max(firstRetry, 2*p.retry), lastRetry)
			if ctx.Err() == nil && p.stage != gone {
				klog.V(2).InfoS("A pod of a hollow node tries again", "pod", p.key(), "err", err)
				f.agenda.at(now.Add(p.retry), &p.next)
			}
			f.mu.Unlock()
			return
		}
		p.retry = 0
		f.taken(p, what, now)
		f.mu.Unlock()
	}
}

// prepare makes the request by which a step is told. The caller holds mu.
func (f *Fleet) prepare(p *pod, what step, now time.Time) func(context.Context) error {
	pods := f.client.CoreV1().Pods(p.namespace)
	name, uid := p.name, p.uid
	if what == remove {
		return func(ctx context.Context) error {
			return pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0), Preconditions: metav1.NewUIDPreconditions(string(uid))})
		}
	}
	switch what {
	case start:
		f.commit(p)
		f.settle(p)
	case stick:
		f.commit(p)
	}
	status := f.status(p, what, metav1.NewTime(now))
	return func(ctx context.Context) error {
		patch, err := json.Marshal(podPatch{Metadata: identity{UID: uid}, Status: status})
		if err != nil {
			return err
		}
		_, err = pods.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		return err
	}
}

type podPatch struct {
	Metadata identity         `json:"metadata"`
	Status   corev1.PodStatus `json:"status"`
}

type identity struct {
	UID types.UID `json:"uid"`
}

// taken notes that a step was told. The caller holds mu.
func (f *Fleet) taken(p *pod, what step, now time.Time) {
	if p.stage == gone {
		return
	}
	p.unscheduled = false
	switch what {
	case refuse, kill:
		p.stage = over
	case stick:
		p.stage = stuck
	case start:
		p.run, p.stage = now, ready
		if f.script.draw(p.rule.ReadyAfter, p.key(), "ready", p.runs) > 0 {
			p.stage = starting
		}
	case becomeReady:
		p.stage = ready
	case finish:
		if p.shape.runsAgain(p.rule.exitCode(p.runs)) {
			p.runs++
			p.stage = waiting
		} else {
			p.stage = over
		}
	case remove:
		p.stage = gone
	}
	p.since = now
	if p.stage == over {
		f.release(p)
	}
}
