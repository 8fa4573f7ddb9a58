package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// inEnvironment are the pod's fields that a variable may show.
func inEnvironment() []string {
	return []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
}

func (c *checker) ports(m member) {
	names := sets.New[string]()
	for i, p := range m.Ports {
		at := m.at.Child("ports").Index(i)
		if p.Name != "" {
			messages := validation.IsValidPortName(p.Name)
			c.Messages(at.Child("name"), p.Name, messages)
			if messages == nil && names.Has(p.Name) {
				c.Duplicate(at.Child("name"), p.Name)
			}
			names.Insert(p.Name)
		}
		if p.ContainerPort == 0 {
			c.Required(at.Child("containerPort"), "")
		} else {
			c.Messages(at.Child("containerPort"), p.ContainerPort, validation.IsValidPortNum(int(p.ContainerPort)))
		}
		if p.HostPort != 0 {
			c.Messages(at.Child("hostPort"), p.HostPort, validation.IsValidPortNum(int(p.HostPort)))
		}
		if p.Protocol == "" {
			c.Required(at.Child("protocol"), "")
		} else {
			problem.OneOf(&c.List, at.Child("protocol"), p.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
		}
	}
}

// hostPorts refuses a port of the host that is taken already.
func (c *checker) hostPorts(ctr *corev1.Container, at *field.Path, taken sets.Set[string]) {
	for i, p := range ctr.Ports {
		if p.HostPort == 0 {
			continue
		}
		key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
		if taken.Has(key) {
			c.Duplicate(at.Child("ports").Index(i).Child("hostPort"), key)
		}
		taken.Insert(key)
	}
}

func (c *checker) environment(m member) {
	for i, e := range m.Env {
		at := m.at.Child("env").Index(i)
		if e.Name == "" {
			c.Required(at.Child("name"), "")
		} else {
			c.Messages(at.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))
		}
		if e.ValueFrom != nil {
			c.valueFrom(at.Child("valueFrom"), &e)
		}
	}
	for i, from := range m.EnvFrom {
		at := m.at.Child("envFrom").Index(i)
		if from.Prefix != "" {
			c.Messages(at.Child("prefix"), from.Prefix, validation.IsRelaxedEnvVarName(from.Prefix))
		}
		source := func(kind, name string) {
			nameAt := at.Child(kind, "name")
			if name == "" {
				c.Required(nameAt, "")
			} else {
				c.Messages(nameAt, name, apivalidation.NameIsDNSSubdomain(name, true))
			}
		}
		if from.ConfigMapRef != nil {
			source("configMapRef", from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			source("secretRef", from.SecretRef.Name)
		}
		switch {
		case from.ConfigMapRef == nil && from.SecretRef == nil:
			c.Invalid(m.at.Child("envFrom"), "", "must specify one of: `configMapRef` or `secretRef`")
		case from.ConfigMapRef != nil && from.SecretRef != nil:
			c.Invalid(m.at.Child("envFrom"), "", "may not have more than one field specified at a time")
		}
	}
}

func (c *checker) valueFrom(at *field.Path, e *corev1.EnvVar) {
	from, given := e.ValueFrom, 0
	if ref := from.FieldRef; ref != nil {
		given++
		c.Add(volume.ValidateFieldRef(ref, inEnvironment(), at.Child("fieldRef"))...)
	}
	if ref := from.ResourceFieldRef; ref != nil {
		given++
		c.Add(volume.ValidateResourceRef(ref, false, at.Child("resourceFieldRef"))...)
	}
	if ref := from.ConfigMapKeyRef; ref != nil {
		given++
		c.keyOf(at.Child("configMapKeyRef"), ref.Name, ref.Key)
	}
	if ref := from.SecretKeyRef; ref != nil {
		given++
		c.keyOf(at.Child("secretKeyRef"), ref.Name, ref.Key)
	}
	if ref := from.FileKeyRef; ref != nil {
		given++
		c.keyInFile(at.Child("fileKeyRef"), ref)
	}
	switch {
	case given == 0:
		c.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case e.Value != "":
		c.Invalid(at, "", "may not be specified when `value` is not empty")
	case given > 1:
		c.Invalid(at, "", "may not have more than one field specified at a time")
	}
}

func (c *checker) keyOf(at *field.Path, object, key string) {
	c.Messages(at.Child("name"), object, apivalidation.NameIsDNSSubdomain(object, false))
	if key == "" {
		c.Required(at.Child("key"), "")
	} else {
		c.Messages(at.Child("key"), key, validation.IsConfigMapKey(key))
	}
}

func (c *checker) keyInFile(at *field.Path, ref *corev1.FileKeySelector) {
	if ref.Key == "" {
		c.Required(at.Child("key"), "")
	} else {
		c.Messages(at.Child("key"), ref.Key, validation.IsRelaxedEnvVarName(ref.Key))
	}
	if ref.VolumeName == "" {
		c.Required(at.Child("volumeName"), "")
	} else {
		c.label(at.Child("volumeName"), ref.VolumeName)
	}
	if ref.Path == "" {
		c.Required(at.Child("path"), "")
	} else {
		c.Add(volume.ValidateNoBacksteps(ref.Path, at.Child("path"))...)
	}
}

func (c *checker) mounts(m member) {
	listAt := m.at.Child("volumeMounts")
	points := sets.New[string]()
	for i, mount := range m.VolumeMounts {
		at := listAt.Index(i)
		c.NonEmpty(at.Child("name"), mount.Name)
		if c.volumes[mount.Name] == nil {
			c.Add(field.NotFound(at.Child("name"), mount.Name))
		}
		c.NonEmpty(at.Child("mountPath"), mount.MountPath)
		if points.Has(mount.MountPath) {
			c.Invalid(at.Child("mountPath"), mount.MountPath, "must be unique")
		}
		points.Insert(mount.MountPath)
		if slices.ContainsFunc(m.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == mount.Name }) {
			c.Invalid(at.Child("name"), mount.Name, "must not already exist in volumeDevices")
		}
		if slices.ContainsFunc(m.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == mount.MountPath }) {
			c.Invalid(at.Child("mountPath"), mount.MountPath, "must not already exist as a path in volumeDevices")
		}
		// The problems of these fields are shown at the list, without an index, as upstream does.
		if mount.SubPath != "" {
			c.Add(volume.ValidateDescending(mount.SubPath, listAt.Child("subPath"))...)
		}
		if mount.SubPathExpr != "" {
			if mount.SubPath != "" {
				c.Invalid(at.Child("subPathExpr"), mount.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
			}
			c.Add(volume.ValidateDescending(mount.SubPathExpr, listAt.Child("subPathExpr"))...)
		}
		c.propagation(listAt, &mount, m.SecurityContext)
	}
}

func (c *checker) propagation(at *field.Path, mount *corev1.VolumeMount, sc *corev1.SecurityContext) {
	mode := corev1.MountPropagationNone
	if mount.MountPropagation != nil {
		mode = *mount.MountPropagation
		problem.OneOf(&c.List, at.Child("mountPropagation"), mode,
			corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
		if mode == corev1.MountPropagationBidirectional && !isPrivileged(sc) {
			c.Forbidden(at.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	if mount.RecursiveReadOnly == nil {
		return
	}
	recursiveAt := at.Child("recursiveReadOnly")
	switch *mount.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible:
		if !mount.ReadOnly {
			c.Forbidden(recursiveAt, "may only be specified when readOnly is true")
		}
		if mode != corev1.MountPropagationNone {
			c.Forbidden(recursiveAt, "may only be specified when mountPropagation is None or not specified")
		}
	default:
		problem.OneOf(&c.List, recursiveAt, *mount.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled,
			corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	}
}

func (c *checker) devices(m member) {
	names, paths := sets.New[string](), sets.New[string]()
	for i, d := range m.VolumeDevices {
		at := m.at.Child("volumeDevices").Index(i)
		nameAt, pathAt := at.Child("name"), at.Child("devicePath")
		c.NonEmpty(nameAt, d.Name)
		if names.Has(d.Name) {
			c.Invalid(nameAt, d.Name, "must be unique")
		}
		switch source := c.volumes[d.Name]; {
		case source == nil:
			c.Add(field.NotFound(nameAt, d.Name))
		case source.PersistentVolumeClaim == nil && source.Ephemeral == nil:
			c.Invalid(nameAt, d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		c.NonEmpty(pathAt, d.DevicePath)
		if paths.Has(d.DevicePath) {
			c.Invalid(pathAt, d.DevicePath, "must be unique")
		}
		if len(volume.ValidateNoBacksteps(d.DevicePath, pathAt)) > 0 {
			c.Invalid(pathAt, d.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths.Insert(d.DevicePath)
		}
		if slices.ContainsFunc(m.VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == d.Name }) {
			c.Invalid(nameAt, d.Name, "must not already exist in volumeMounts")
		}
		if slices.ContainsFunc(m.VolumeMounts, func(v corev1.VolumeMount) bool { return v.MountPath == d.DevicePath }) {
			c.Invalid(pathAt, d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if d.Name != "" {
			names.Insert(d.Name)
		}
	}
}
