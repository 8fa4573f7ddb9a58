package incluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/runner"
	"github.com/plumbline/plumbline/conformance/suite"
)

// order is what the pods of one Job have to do. They find it in a file.
type order struct {
	// Version is the suite's, which the image must hold.
	Version string `json:"version"`
	// Items are all pods'; of Shards shares each takes the one of its index.
	Items  []orderedItem `json:"items"`
	Shards int           `json:"shards"`
	// Procs, Retries and Limits are those of each pod's run.
	Procs   int           `json:"procs"`
	Retries int           `json:"retries"`
	Limits  runner.Limits `json:"limits"`
}

type orderedItem struct {
	Behaviour string `json:"behaviour"`
	Spec      string `json:"spec"`
}

// The order's file, and where pods find it and have room.
const (
	orderFile      = "order.json"
	orderDirectory = "/var/run/plumb/order"
	workDirectory  = "/var/run/plumb/work"
)

func readOrder(dir string) (order, error) {
	var o order
	data, err := os.ReadFile(filepath.Join(dir, orderFile))
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	return o, err
}

// share is what the pod of an index does, of a suite's specs.
func (o order) share(index int, listing *suite.Listing) ([]runner.Item, error) {
	specs := make(map[string]suite.Spec, len(listing.Specs))
	for _, spec := range listing.Specs {
		specs[spec.Name] = spec
	}
	var all []catalogue.Behaviour
	for _, item := range o.Items {
		spec, ok := specs[item.Spec]
		if !ok {
			return nil, fmt.Errorf("the image's suite does not hold behaviour %q", item.Behaviour)
		}
		all = append(all, catalogue.Behaviour{ID: item.Behaviour, Spec: spec})
	}
	var items []runner.Item
	for _, b := range (catalogue.Shard{Index: index + 1, Of: o.Shards}).Choose(all) {
		items = append(items, runner.Item{Behaviour: b.ID, Spec: b.Spec})
	}
	return items, nil
}
