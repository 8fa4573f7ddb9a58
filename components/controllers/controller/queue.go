package controller

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Key names a namespaced or cluster-wide object in a Queue.
type Key = cache.ObjectName

// Backoff bounds the time between two attempts at a key that keeps failing.
type Backoff struct {
	First, Max time.Duration
}

// DefaultBackoff doubles from 5 ms, as client-go's default does, up to 30 s: what a controller waits for is rarely
// longer away than that, and a test harness would rather see an extra attempt.
var DefaultBackoff = Backoff{First: 5 * time.Millisecond, Max: 30 * time.Second}

// Queue is a work queue of keys with the workers that drain it. A key is worked on by one worker at a time; additions
// while it is worked on are folded into one more turn; a key whose turn failed comes back later and later.
type Queue[K comparable] struct {
	name string
	sync func(ctx context.Context, key K) error
	work workqueue.TypedRateLimitingInterface[K]
}

// NewQueue makes a queue whose workers call sync with each key.
func NewQueue[K comparable](name string, clock clock.WithTicker, backoff Backoff, sync func(ctx context.Context, key K) error) *Queue[K] {
	limiter := workqueue.NewTypedMaxOfRateLimiter(
		workqueue.NewTypedItemExponentialFailureRateLimiter[K](backoff.First, backoff.Max),
		// Keeps a mass failure (an API server away) from becoming a storm.
		&workqueue.TypedBucketRateLimiter[K]{Limiter: rate.NewLimiter(rate.Limit(50), 500)},
	)
	return &Queue[K]{
		name: name,
		sync: sync,
		work: workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[K]{Name: name, Clock: clock}),
	}
}

// Add queues key.
func (q *Queue[K]) Add(key K) { q.work.Add(key) }

// AddAfter queues key once delay has passed.
func (q *Queue[K]) AddAfter(key K, delay time.Duration) { q.work.AddAfter(key, delay) }

// Retry queues key after its back-off, as if its turn had failed.
func (q *Queue[K]) Retry(key K) { q.work.AddRateLimited(key) }

// Failures tells how many turns of key failed in a row.
func (q *Queue[K]) Failures(key K) int { return q.work.NumRequeues(key) }

// Len is the number of keys waiting.
func (q *Queue[K]) Len() int { return q.work.Len() }

// Run works with that many workers until ctx is cancelled and returns once all of them have ended.
func (q *Queue[K]) Run(ctx context.Context, workers int) {
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for q.turn(ctx) {
			}
		})
	}
	<-ctx.Done()
	q.work.ShutDown()
	running.Wait()
}

func (q *Queue[K]) turn(ctx context.Context) bool {
	key, closed := q.work.Get()
	if closed {
		return false
	}
	defer q.work.Done(key)
	defer utilruntime.HandleCrashWithContext(ctx)
	if err := q.sync(ctx, key); err != nil {
		if ctx.Err() != nil {
			return false
		}
		klog.FromContext(ctx).V(2).Info("Will try again", "queue", q.name, "key", key, "failures", q.work.NumRequeues(key)+1, "err", err)
		q.work.AddRateLimited(key)
		return true
	}
	q.work.Forget(key)
	return true
}
