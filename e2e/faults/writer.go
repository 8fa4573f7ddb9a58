package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// writePause is the time between two writes: many a second, and few enough to leave the
// cluster its processors.
const writePause = 20 * time.Millisecond

// writer creates ConfigMaps one after the other and keeps in mind which of them the API
// server acknowledged.
type writer struct {
	suite        *suite.Suite
	namespace    string
	end          context.CancelFunc
	work         sync.WaitGroup
	acknowledged map[string]string
	refused      int
	lastError    error
}

// startWriter writes until stop.
func startWriter(ctx context.Context, s *suite.Suite, namespace string) *writer {
	ctx, end := context.WithCancel(ctx)
	w := &writer{suite: s, namespace: namespace, end: end, acknowledged: map[string]string{}}
	w.work.Go(func() {
		pace := time.NewTicker(writePause)
		defer pace.Stop()
		for number := 0; ; number++ {
			w.write(ctx, number)
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
		}
	})
	ginkgo.DeferCleanup(w.stop)
	return w
}

func (w *writer) write(ctx context.Context, number int) {
	name, text := fmt.Sprintf("write-%06d", number), fmt.Sprintf("content of %d", number)
	// A write that an outage swallows must not hold up those after it.
	ctx, cancel := context.WithTimeout(ctx, expect.Scaled(2*time.Second))
	defer cancel()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Data: map[string]string{"text": text}}
	if err := w.suite.Client.Create(ctx, object); err != nil {
		// It may or may not have been stored: nothing was promised.
		w.refused++
		w.lastError = err
		return
	}
	w.acknowledged[name] = text
}

func (w *writer) stop() {
	w.end()
	w.work.Wait()
}

// verify stops writing and looks for everything that was acknowledged.
func (w *writer) verify(ctx context.Context) {
	ginkgo.GinkgoHelper()
	w.stop()
	var list corev1.ConfigMapList
	gomega.Expect(w.suite.Client.List(ctx, &list, client.InNamespace(w.namespace))).To(gomega.Succeed())
	found := map[string]string{}
	for _, object := range list.Items {
		found[object.Name] = object.Data["text"]
	}
	ginkgo.GinkgoWriter.Printf("%d writes acknowledged, %d not (last: %v)\n", len(w.acknowledged), w.refused, w.lastError)
	gomega.Expect(w.acknowledged).NotTo(gomega.BeEmpty())
	for name, text := range w.acknowledged {
		gomega.Expect(found).To(gomega.HaveKeyWithValue(name, text), "a write that was acknowledged is lost")
	}
}
