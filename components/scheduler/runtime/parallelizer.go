package runtime

import (
	"context"
	"math"
	goruntime "runtime"

	"k8s.io/client-go/util/workqueue"
)

// inlineBelow is how many pieces are not worth waking another goroutine for.
const inlineBelow = 32

// Parallelizer spreads per-node work over goroutines.
type Parallelizer struct {
	parallelism int
}

// NewParallelizer uses up to parallelism goroutines.
func NewParallelizer(parallelism int) Parallelizer { return Parallelizer{parallelism: parallelism} }

// Until runs work for each piece until done or until ctx is cancelled. Few pieces run on the calling goroutine.
func (p Parallelizer) Until(ctx context.Context, pieces int, work workqueue.DoWorkPieceFunc, _ string) {
	if pieces < inlineBelow || p.parallelism <= 1 || goruntime.GOMAXPROCS(0) == 1 {
		for i := 0; i < pieces && ctx.Err() == nil; i++ {
			work(i)
		}
		return
	}
	chunk := max(1, min(int(math.Sqrt(float64(pieces))), pieces/p.parallelism+1))
	workqueue.ParallelizeUntil(ctx, p.parallelism, pieces, work, workqueue.WithChunkSize(chunk))
}
