package journal

import (
	"fmt"
	"strings"
)

// Merge puts shards of one run together.
func Merge(plans []Plan, records [][]Record) (Plan, []Record, error) {
	if len(plans) == 0 {
		return Plan{}, nil, fmt.Errorf("no runs to merge")
	}
	whole, all := plans[0], append([]Record(nil), records[0]...)
	shards, chosen := []string{whole.Shard}, map[string]bool{}
	for _, b := range whole.Behaviours {
		chosen[b.ID] = true
	}
	for i, plan := range plans[1:] {
		for _, same := range []struct{ what, one, other string }{
			{"suite", whole.Suite, plan.Suite},
			{"suite's version", whole.Version, plan.Version},
			{"API server's version", whole.Server, plan.Server},
			{"focus", strings.Join(whole.Focus, " "), strings.Join(plan.Focus, " ")},
			{"number of retries", fmt.Sprint(whole.Retries), fmt.Sprint(plan.Retries)},
		} {
			if same.one != same.other {
				return Plan{}, nil, fmt.Errorf("runs with different %s cannot be merged: %q and %q", same.what, same.one, same.other)
			}
		}
		for _, b := range plan.Behaviours {
			if chosen[b.ID] {
				return Plan{}, nil, fmt.Errorf("behaviour %q is in shard %s and in another: shards of one run have none in common", b.ID, plan.Shard)
			}
			chosen[b.ID] = true
			whole.Behaviours = append(whole.Behaviours, b)
		}
		shards = append(shards, plan.Shard)
		all = append(all, records[i+1]...)
		if plan.Started.Before(whole.Started) {
			whole.Started = plan.Started
		}
	}
	whole.Shard = mergedShard(shards)
	return whole, all, nil
}

// mergedShard is "1/1" if the shards are all of their run.
func mergedShard(shards []string) string {
	seen := map[string]bool{}
	_, of, _ := strings.Cut(shards[0], "/")
	for _, shard := range shards {
		_, n, _ := strings.Cut(shard, "/")
		if n != of {
			return strings.Join(shards, "+")
		}
		seen[shard] = true
	}
	if fmt.Sprint(len(seen)) == of {
		return "1/1"
	}
	return strings.Join(shards, "+")
}
