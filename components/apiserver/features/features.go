// Package features names the feature gates of Kubernetes that this API server can turn on beside those of its library.
// What all others bring is as it is by default.
package features

import (
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-base/featuregate"
)

// GenericWorkload lets pods be scheduled in groups: the resources PodGroup and Workload, and pods' schedulingGroup.
const GenericWorkload featuregate.Feature = "GenericWorkload"

// Set is the features that are on.
type Set = sets.Set[featuregate.Feature]

func known() map[featuregate.Feature]featuregate.VersionedSpecs {
	return map[featuregate.Feature]featuregate.VersionedSpecs{
		GenericWorkload: {
			{Version: version.MajorMinor(1, 35), PreRelease: featuregate.Alpha},
			{Version: version.MajorMinor(1, 37), PreRelease: featuregate.Beta},
		},
	}
}

// Register adds the gates to the library's, which is one set a process: a second server finds them there.
func Register(gates featuregate.MutableVersionedFeatureGate) error {
	missing, there := known(), gates.GetAllVersioned()
	for feature := range missing {
		if _, ok := there[feature]; ok {
			delete(missing, feature)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return gates.AddVersioned(missing)
}

// On are those of the features that are on.
func On(gates featuregate.FeatureGate) Set {
	on := Set{}
	for feature := range known() {
		if gates.Enabled(feature) {
			on.Insert(feature)
		}
	}
	return on
}
