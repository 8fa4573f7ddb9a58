package scheduler

import (
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/plugins/defaultbinder"
	"github.com/plumbline/plumbline/components/scheduler/plugins/defaultpreemption"
	"github.com/plumbline/plumbline/components/scheduler/plugins/dynamicresources"
	"github.com/plumbline/plumbline/components/scheduler/plugins/gangscheduling"
	"github.com/plumbline/plumbline/components/scheduler/plugins/imagelocality"
	"github.com/plumbline/plumbline/components/scheduler/plugins/interpodaffinity"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodeaffinity"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodedeclaredfeatures"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodename"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodeports"
	"github.com/plumbline/plumbline/components/scheduler/plugins/noderesources"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodeunschedulable"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodevolumelimits"
	"github.com/plumbline/plumbline/components/scheduler/plugins/podtopologyspread"
	"github.com/plumbline/plumbline/components/scheduler/plugins/prioritysort"
	"github.com/plumbline/plumbline/components/scheduler/plugins/schedulinggates"
	"github.com/plumbline/plumbline/components/scheduler/plugins/tainttoleration"
	"github.com/plumbline/plumbline/components/scheduler/plugins/volumebinding"
	"github.com/plumbline/plumbline/components/scheduler/plugins/volumerestrictions"
	"github.com/plumbline/plumbline/components/scheduler/plugins/volumezone"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// Plugins are the plugins that this scheduler brings along.
func Plugins(m *metrics.Metrics) runtime.Registry {
	return runtime.Registry{
		defaultbinder.Name:         defaultbinder.New,
		defaultpreemption.Name:     defaultpreemption.New(m),
		dynamicresources.Name:      dynamicresources.New,
		gangscheduling.Name:        gangscheduling.New,
		imagelocality.Name:         imagelocality.New,
		interpodaffinity.Name:      interpodaffinity.New,
		nodeaffinity.Name:          nodeaffinity.New,
		nodedeclaredfeatures.Name:  nodedeclaredfeatures.New,
		nodename.Name:              nodename.New,
		nodeports.Name:             nodeports.New,
		noderesources.FitName:      noderesources.NewFit,
		noderesources.BalancedName: noderesources.NewBalancedAllocation,
		nodeunschedulable.Name:     nodeunschedulable.New,
		nodevolumelimits.Name:      nodevolumelimits.New,
		podtopologyspread.Name:     podtopologyspread.New,
		prioritysort.Name:          prioritysort.New,
		schedulinggates.Name:       schedulinggates.New,
		tainttoleration.Name:       tainttoleration.New,
		volumebinding.Name:         volumebinding.New,
		volumerestrictions.Name:    volumerestrictions.New,
		volumezone.Name:            volumezone.New,
	}
}
