package storage

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestStorageClasses(t *testing.T) {
	definition := Classes()
	class := &storagev1.StorageClass{Provisioner: "example.com/disk"}
	definition.Default(class)
	expect(t, definition.Validate(t.Context(), class))
	if *class.ReclaimPolicy != corev1.PersistentVolumeReclaimDelete || *class.VolumeBindingMode != storagev1.VolumeBindingImmediate {
		t.Errorf("the defaults are %v and %v", *class.ReclaimPolicy, *class.VolumeBindingMode)
	}

	zones := corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: []string{"a"}}}}
	changed := class.DeepCopy()
	changed.Provisioner = ""
	changed.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimRecycle)
	changed.VolumeBindingMode = ptr.To(storagev1.VolumeBindingMode("Later"))
	changed.AllowedTopologies = []corev1.TopologySelectorTerm{zones, zones, {
		MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "rack"}},
	}}
	expect(t, definition.ValidateUpdate(t.Context(), changed, class),
		`provisioner: Required value`,
		`reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`,
		`volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"`,
		`allowedTopologies[1].matchLabelExpressions: Duplicate value: ""`,
		`allowedTopologies[2].matchLabelExpressions[0].values: Required value`,
		`provisioner: Invalid value: "": field is immutable`,
		`reclaimPolicy: Invalid value: "Recycle": field is immutable`,
		`volumeBindingMode: Invalid value: "Later": field is immutable`)
}

func TestCSINodes(t *testing.T) {
	driver := storagev1.CSINodeDriver{Name: "disk.example.com", NodeID: "n1", TopologyKeys: []string{"example.com/zone"}}
	was := []storagev1.CSINodeDriver{driver}
	expect(t, validateDrivers(was))
	more := driver
	more.Allocatable = &storagev1.VolumeNodeResources{Count: ptr.To[int32](3)}
	expect(t, validateDriversChange([]storagev1.CSINodeDriver{more, {Name: "other.example.com", NodeID: "n1"}}, was))
	expect(t, validateDriversChange(nil, was))
	driver.NodeID = "n2"
	if errs := validateDriversChange([]storagev1.CSINodeDriver{driver}, was); len(errs) != 1 || errs[0].Field != "spec.drivers" {
		t.Errorf("a driver got another node ID: %v", errs)
	}
	driver.NodeID, driver.TopologyKeys = "", []string{"zone", "zone"}
	driver.Allocatable = &storagev1.VolumeNodeResources{Count: ptr.To[int32](-1)}
	expect(t, validateDrivers([]storagev1.CSINodeDriver{driver}),
		`spec.drivers[0].nodeID: Required value`,
		`spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0`,
		`spec.drivers[0]: Duplicate value: "zone"`)
}

func TestCSIStorageCapacities(t *testing.T) {
	old := &storagev1.CSIStorageCapacity{StorageClassName: "fast"}
	expect(t, validateCapacity(old, nil))
	expect(t, validateCapacity(&storagev1.CSIStorageCapacity{StorageClassName: "slow"}, old),
		`storageClassName: Invalid value: "slow": field is immutable`)
}
