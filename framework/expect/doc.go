// Package expect states what a cluster promises, for Gomega: waits that follow a
// watch instead of polling, matchers for Kubernetes objects, and a recorder that
// keeps every state objects went through, so that a promise about all of them
// ("never fewer than n available") is judged on all of them.
//
//	w := expect.NewWatcher(client)
//	Expect(w.Until(ctx, pod, expect.BeReady())).To(Succeed())
//	Expect(w.Within(expect.Long).Gone(ctx, pod)).To(Succeed())
//
// Every time limit is multiplied by one factor, PLUMB_TIMEOUT_SCALE in the
// environment, for machines that are slower than the ones the limits were made for.
package expect
