package expect

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

// newWatcher looks at a fake API server. Its watches do not replay what happened
// before they began, so watching is closed once one has.
func newWatcher(objects ...client.Object) (w Watcher, watching chan struct{}) {
	watching = make(chan struct{})
	var once sync.Once
	byName := func(o client.Object) []string { return []string{o.GetName()} }
	server := fake.NewClientBuilder().WithObjects(objects...).WithIndex(&corev1.Pod{}, metav1.ObjectNameField, byName)
	server.WithInterceptorFuncs(interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) (watch.Interface, error) {
			defer once.Do(func() { close(watching) })
			return c.Watch(ctx, list, options...)
		},
	})
	return NewWatcher(server.Build()), watching
}

func setPhase(t *testing.T, w Watcher, name string, phase corev1.PodPhase) {
	t.Helper()
	pod := newPod(name)
	if err := w.Client().Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = phase
	if err := w.Client().Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

func TestUntilSeesLaterState(t *testing.T) {
	w, watching := newWatcher(newPod("a"))
	pod := newPod("a")
	done := make(chan error, 1)
	go func() { done <- w.Until(t.Context(), pod, BeRunning()) }()
	<-watching
	setPhase(t, w, "a", corev1.PodRunning)
	if err := <-done; err != nil || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("phase %q, %v", pod.Status.Phase, err)
	}
}

func TestUntilTellsWhatIsMissing(t *testing.T) {
	stuck := newPod("a")
	stuck.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}}
	w, _ := newWatcher(stuck)
	err := w.Within(20*time.Millisecond).Until(t.Context(), newPod("a"), BeReady())
	if err == nil || !strings.Contains(err.Error(), "container c waits: ErrImagePull") {
		t.Errorf("the error does not name the reason: %v", err)
	}
	w, _ = newWatcher()
	err = w.Within(20*time.Millisecond).Until(t.Context(), newPod("a"), BeReady())
	if err == nil || !strings.Contains(err.Error(), "it does not exist") {
		t.Errorf("got %v", err)
	}
}

func TestGone(t *testing.T) {
	w, watching := newWatcher(newPod("a"))
	done := make(chan error, 1)
	go func() { done <- w.Gone(t.Context(), newPod("a")) }()
	<-watching
	if err := w.Client().Delete(t.Context(), newPod("a")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestThroughoutFailsAtTheFirstBreach(t *testing.T) {
	w, _ := newWatcher(newPod("a"))
	if err := w.Throughout(t.Context(), 20*time.Millisecond, newPod("a"), gomega.Not(BeRunning())); err != nil {
		t.Error(err)
	}
	setPhase(t, w, "a", corev1.PodRunning)
	if err := w.Throughout(t.Context(), time.Minute, newPod("a"), gomega.Not(BeRunning())); err == nil {
		t.Error("a breach went unnoticed")
	}
}

func TestHistoryJudgesEveryState(t *testing.T) {
	w, watching := newWatcher(newPod("a"), newPod("b"))
	history, err := w.Record(t.Context(), Source{List: &corev1.PodList{}})
	if err != nil {
		t.Fatal(err)
	}
	defer history.Close()
	<-watching
	// A state that lasts for one change only must be seen.
	setPhase(t, w, "a", corev1.PodFailed)
	setPhase(t, w, "a", corev1.PodRunning)
	if err := w.Client().Delete(t.Context(), newPod("b")); err != nil {
		t.Fatal(err)
	}
	// The fake API server's lists have no version, by which a history knows what it lacks.
	gomega.NewWithT(t).Eventually(history.Changes).Should(gomega.HaveLen(3))
	var seen []string
	err = history.Judge(t.Context(), func(s State) error {
		var pods []string
		for _, pod := range Of[*corev1.Pod](s) {
			pods = append(pods, pod.Name+string(pod.Status.Phase))
		}
		seen = append(seen, strings.Join(pods, "+"))
		return nil
	})
	if want := "a+b aFailed+b aRunning+b aRunning"; err != nil || strings.Join(seen, " ") != want {
		t.Errorf("got %v (%v), want %s", seen, err, want)
	}
	err = history.Judge(t.Context(), func(s State) error {
		for _, pod := range Of[*corev1.Pod](s) {
			if pod.Status.Phase == corev1.PodFailed {
				return fmt.Errorf("pod %s failed", pod.Name)
			}
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "MODIFIED Pod ns/a") {
		t.Errorf("the error does not name the change: %v", err)
	}
}

func TestUntilListAndEachItem(t *testing.T) {
	w, watching := newWatcher(newPod("a"), newPod("b"))
	setPhase(t, w, "a", corev1.PodRunning)
	list := &corev1.PodList{}
	done := make(chan error, 1)
	go func() { done <- w.UntilList(t.Context(), list, EachItem(2, BeRunning()), client.InNamespace("ns")) }()
	<-watching
	setPhase(t, w, "b", corev1.PodRunning)
	if err := <-done; err != nil || len(list.Items) != 2 {
		t.Errorf("%d items, %v", len(list.Items), err)
	}
}

func TestScaled(t *testing.T) {
	for value, want := range map[string]time.Duration{"": time.Second, "3": 3 * time.Second, "0.5": time.Second / 2, "-1": time.Second, "x": time.Second} {
		t.Setenv(ScaleVariable, value)
		if got := Scaled(time.Second); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w, _ := newWatcher(newPod("a"))
	if err := w.Until(ctx, newPod("a"), BeRunning()); err == nil {
		t.Error("no error from a cancelled wait")
	}
}
