package dra

import (
	"slices"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// device identifies one that was given to a claim, or a share of it.
type device struct{ driver, pool, name, share string }

// String is how a device is named in messages.
func (d device) String() string {
	parts := []string{d.driver, d.pool, d.name}
	if d.share != "" {
		parts = append(parts, d.share)
	}
	return strings.Join(parts, "/")
}

func deref[T ~string](s *T) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

func reportedDevice(d resourcev1.AllocatedDeviceStatus) device {
	return device{d.Driver, d.Pool, d.Device, deref(d.ShareID)}
}

func allocatedDevices(status *resourcev1.ResourceClaimStatus) sets.Set[device] {
	devices := sets.New[device]()
	if status.Allocation != nil {
		for _, r := range status.Allocation.Devices.Results {
			devices.Insert(device{r.Driver, r.Pool, r.Device, deref(r.ShareID)})
		}
	}
	return devices
}

// dropDeallocated forgets what was reported of devices that the claim no longer has.
func dropDeallocated(status, old *resourcev1.ResourceClaimStatus) {
	gone := allocatedDevices(old).Difference(allocatedDevices(status))
	status.Devices = slices.DeleteFunc(slices.Clone(status.Devices), func(d resourcev1.AllocatedDeviceStatus) bool {
		return gone.Has(reportedDevice(d))
	})
	if len(status.Devices) == 0 {
		status.Devices = nil
	}
}

func validateClaimStatus(c, old *resourcev1.ResourceClaim) field.ErrorList {
	var found problem.List
	status, at := &c.Status, field.NewPath("status")
	found.Add(validateList(status.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, at.Child("reservedFor"),
		func(r resourcev1.ResourceClaimConsumerReference) types.UID { return r.UID }, validateConsumer)...)
	allocated := allocatedDevices(status)
	found.Add(validateList(status.Devices, -1, at.Child("devices"), reportedDevice,
		func(d resourcev1.AllocatedDeviceStatus, at *field.Path) field.ErrorList {
			return validateReport(d, allocated, at)
		})...)
	if len(status.ReservedFor) > 0 && status.Allocation == nil {
		found.Forbidden(at.Child("reservedFor"), "may not be specified when `allocated` is not set")
	} else if c.DeletionTimestamp != nil && len(sets.New(status.ReservedFor...).Difference(sets.New(old.Status.ReservedFor...))) > 0 {
		found.Forbidden(at.Child("reservedFor"), "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
	}
	switch {
	case status.Allocation == nil:
	case old.Status.Allocation != nil:
		found.Add(apivalidation.ValidateImmutableField(status.Allocation, old.Status.Allocation, at.Child("allocation"))...)
	default:
		found.Add(validateAllocation(status.Allocation, referencesOf(&c.Spec.Devices), at.Child("allocation"))...)
	}
	return found.Errors
}

func validateConsumer(r resourcev1.ResourceClaimConsumerReference, at *field.Path) field.ErrorList {
	var found problem.List
	found.NonEmpty(at.Child("resource"), r.Resource)
	found.NonEmpty(at.Child("name"), r.Name)
	found.NonEmpty(at.Child("uid"), string(r.UID))
	return found.Errors
}

func validateAllocation(a *resourcev1.AllocationResult, names references, at *field.Path) field.ErrorList {
	var found problem.List
	found.Add(validateList[resourcev1.DeviceRequestAllocationResult, string](a.Devices.Results, resourcev1.AllocationResultsMaxSize, at.Child("devices", "results"), nil,
		func(r resourcev1.DeviceRequestAllocationResult, at *field.Path) field.ErrorList {
			return validateResult(r, names, at)
		})...)
	found.Add(validateList[resourcev1.DeviceAllocationConfiguration, string](a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, at.Child("devices", "config"), nil,
		func(c resourcev1.DeviceAllocationConfiguration, at *field.Path) field.ErrorList {
			var found problem.List
			if c.Source == "" {
				found.Required(at.Child("source"), "")
			} else {
				problem.OneOf(&found, at.Child("source"), c.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
			}
			found.Add(names.checkAll(c.Requests, at.Child("requests"))...)
			found.Add(validateConfiguration(&c.DeviceConfiguration, false, at)...)
			return found.Errors
		})...)
	if a.NodeSelector != nil {
		found.Add(pod.ValidateNodeSelector(a.NodeSelector, at.Child("nodeSelector"), false)...)
	}
	return found.Errors
}

func validateResult(r resourcev1.DeviceRequestAllocationResult, names references, at *field.Path) field.ErrorList {
	found := problem.List{Errors: names.check(r.Request, at.Child("request"))}
	found.Add(validateDriver(r.Driver, at.Child("driver"))...)
	found.Add(validatePoolName(r.Pool, at.Child("pool"))...)
	label(&found, at.Child("device"), r.Device)
	found.Add(validateBindingConditions(r.BindingConditions, r.BindingFailureConditions, at)...)
	for i := range r.Tolerations {
		found.Add(validateToleration(&r.Tolerations[i], at.Child("tolerations").Index(i))...)
	}
	if r.ShareID != nil {
		found.Add(validateUID(string(*r.ShareID), at.Child("shareID"))...)
	}
	return found.Errors
}

func validateUID(uid string, at *field.Path) field.ErrorList {
	var found problem.List
	if err := uuid.Validate(uid); err != nil {
		found.Invalid(at, uid, "error validating uid: "+err.Error())
	} else if len(uid) != 36 || uid != strings.ToLower(uid) {
		found.Invalid(at, uid, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")
	}
	return found.Errors
}

func validateReport(d resourcev1.AllocatedDeviceStatus, allocated sets.Set[device], at *field.Path) field.ErrorList {
	found := problem.List{Errors: volume.ValidateDriverName(d.Driver, at.Child("driver"))}
	found.Add(validatePoolName(d.Pool, at.Child("pool"))...)
	label(&found, at.Child("device"), d.Device)
	if d.ShareID != nil {
		found.Add(validateUID(*d.ShareID, at.Child("shareID"))...)
	}
	if id := reportedDevice(d); !allocated.Has(id) {
		found.Invalid(at, id.String(), "must be an allocated device in the claim")
	}
	const mostConditions = 8
	if len(d.Conditions) > mostConditions {
		found.Add(field.TooMany(at.Child("conditions"), len(d.Conditions), mostConditions))
	}
	found.Add(metav1validation.ValidateConditions(d.Conditions, at.Child("conditions"))...)
	if d.Data != nil && len(d.Data.Raw) > 0 {
		found.Add(validateData(*d.Data, resourcev1.AllocatedDeviceStatusDataMaxLength, at.Child("data"))...)
	}
	if network, at := d.NetworkData, at.Child("networkData"); network != nil {
		if len(network.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
			found.Add(field.TooLong(at.Child("interfaceName"), "", resourcev1.NetworkDeviceDataInterfaceNameMaxLength))
		}
		if len(network.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
			found.Add(field.TooLong(at.Child("hardwareAddress"), "", resourcev1.NetworkDeviceDataHardwareAddressMaxLength))
		}
		const mostAddresses = 16
		found.Add(validateList(network.IPs, mostAddresses, at.Child("ips"), itself, func(ip string, at *field.Path) field.ErrorList {
			return validation.IsValidInterfaceAddress(at, ip)
		})...)
	}
	return found.Errors
}
