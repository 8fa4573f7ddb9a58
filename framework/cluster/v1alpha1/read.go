package v1alpha1

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Read reads a description, fills in defaults and validates it. Unknown and
// duplicate fields are errors.
func Read(data []byte) (*Cluster, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("cluster description: %w", err)
	}
	c := &Cluster{}
	strict, err := kjson.UnmarshalStrict(asJSON, c)
	if err != nil {
		return nil, fmt.Errorf("cluster description: %w", err)
	}
	if len(strict) > 0 {
		return nil, fmt.Errorf("cluster description: %w", errors.Join(strict...))
	}
	c.Default()
	return c, c.Validate()
}

// Default fills in what is left out.
func (c *Cluster) Default() {
	setDefault(&c.Metadata.Name, "default")
	setDefault(&c.Spec.ControlPlane.Name, ControlPlaneName)
	setDefault(&c.Spec.Network.FabricCIDR, "10.77.0.0/16")
	setDefault(&c.Spec.Network.PodCIDR, "10.88.0.0/16")
	setDefault(&c.Spec.Network.ServiceCIDR, "10.96.0.0/16")
	setDefault(&c.Spec.Network.Domain, "cluster.local")
	for i := range c.Spec.Nodes {
		setDefault(&c.Spec.Nodes[i].Name, fmt.Sprintf("node-%d", i+1))
	}
	if c.Spec.Hollow != nil {
		c.Spec.Hollow.Default()
	}
	if c.Spec.Addons.DNS == nil {
		on := true
		c.Spec.Addons.DNS = &on
	}
}

func setDefault(value *string, usual string) {
	if *value == "" {
		*value = usual
	}
}

// ComponentNames are the components that a description can change.
func ComponentNames() []string {
	return []string{"containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet", "plumb-hollow", "plumb-network"}
}

// maxFabricBits is the longest prefix of a fabric: control plane and nodes have a /24 each of it.
const maxFabricBits = 22

// Validate says, field by field, what is wrong.
func (c *Cluster) Validate() error {
	var errs field.ErrorList
	if c.APIVersion != APIVersion {
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), c.APIVersion, []string{APIVersion}))
	}
	if c.Kind != Kind {
		errs = append(errs, field.NotSupported(field.NewPath("kind"), c.Kind, []string{Kind}))
	}
	errs = append(errs, validateLabel(c.Metadata.Name, field.NewPath("metadata", "name"))...)
	spec := field.NewPath("spec")
	if c.Spec.ControlPlane.Name != ControlPlaneName {
		errs = append(errs, field.NotSupported(spec.Child("controlPlane", "name"), c.Spec.ControlPlane.Name, []string{ControlPlaneName}))
	}
	errs = append(errs, validateResources(c.Spec.ControlPlane.Resources, spec.Child("controlPlane", "resources"))...)
	errs = append(errs, validateFiles(c.Spec.ControlPlane.Files, spec.Child("controlPlane", "files"))...)
	seen := map[string]bool{ControlPlaneName: true}
	for i, node := range c.Spec.Nodes {
		path := spec.Child("nodes").Index(i)
		if seen[node.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), node.Name))
		}
		seen[node.Name] = true
		errs = append(errs, validateNode(node, path)...)
	}
	errs = append(errs, validateNetwork(c.Spec.Network, spec.Child("network"))...)
	if c.Spec.Hollow != nil {
		errs = append(errs, c.validateHollow(spec.Child("hollow"))...)
	}
	for name, component := range c.Spec.Components {
		errs = append(errs, validateComponent(name, component, spec.Child("components").Key(name))...)
	}
	for i, entry := range c.Spec.Images {
		errs = append(errs, validateImages(entry, spec.Child("images").Index(i))...)
	}
	return errs.ToAggregate()
}

// validateHollow also holds hollow nodes apart from machines, in names and addresses.
func (c *Cluster) validateHollow(path *field.Path) field.ErrorList {
	errs := c.Spec.Hollow.Validate(path)
	for _, node := range c.Spec.Nodes {
		if c.Spec.Hollow.Has(node.Name) {
			errs = append(errs, field.Invalid(path.Child("nodes"), node.Name, "is the name of a machine, too"))
		}
	}
	hollow, err := netip.ParsePrefix(c.Spec.Hollow.CIDR)
	if err != nil {
		return errs
	}
	for name, cidr := range map[string]string{"fabricCIDR": c.Spec.Network.FabricCIDR, "podCIDR": c.Spec.Network.PodCIDR, "serviceCIDR": c.Spec.Network.ServiceCIDR} {
		if other, err := netip.ParsePrefix(cidr); err == nil && other.Overlaps(hollow) {
			errs = append(errs, field.Invalid(path.Child("cidr"), c.Spec.Hollow.CIDR, "must not overlap spec.network."+name))
		}
	}
	return errs
}

// IsImagePath tells the path of an archive of images from the name of a set of images.
func IsImagePath(entry string) bool { return strings.ContainsRune(entry, '/') }

func validateImages(entry string, path *field.Path) field.ErrorList {
	if !IsImagePath(entry) {
		return validateLabel(entry, path)
	}
	if _, err := os.Stat(entry); err != nil {
		return field.ErrorList{field.Invalid(path, entry, err.Error())}
	}
	return nil
}

func validateLabel(name string, path *field.Path) (errs field.ErrorList) {
	for _, problem := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(path, name, problem))
	}
	return errs
}

func validateNode(node Machine, path *field.Path) field.ErrorList {
	errs := validateLabel(node.Name, path.Child("name"))
	errs = append(errs, validateResources(node.Resources, path.Child("resources"))...)
	errs = append(errs, validateFiles(node.Files, path.Child("files"))...)
	for key, value := range node.Labels {
		for _, problem := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(path.Child("labels"), key, problem))
		}
		for _, problem := range validation.IsValidLabelValue(value) {
			errs = append(errs, field.Invalid(path.Child("labels").Key(key), value, problem))
		}
	}
	effects := []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}
	for i, taint := range node.Taints {
		for _, problem := range validation.IsQualifiedName(taint.Key) {
			errs = append(errs, field.Invalid(path.Child("taints").Index(i).Child("key"), taint.Key, problem))
		}
		for _, problem := range validation.IsValidLabelValue(taint.Value) {
			errs = append(errs, field.Invalid(path.Child("taints").Index(i).Child("value"), taint.Value, problem))
		}
		if !slices.Contains(effects, taint.Effect) {
			errs = append(errs, field.NotSupported(path.Child("taints").Index(i).Child("effect"), taint.Effect, effects))
		}
	}
	return errs
}

func validateResources(r Resources, path *field.Path) (errs field.ErrorList) {
	least := []struct {
		name     string
		quantity *resource.Quantity
		minimum  string
		because  string
	}{
		{"cpu", r.CPU, "10m", "the kernel's smallest share"},
		{"memory", r.Memory, "64Mi", "what a machine's own programs need"},
		{"disk", r.Disk, "32Mi", "what the runtime's databases need"},
		{"pids", r.PIDs, "64", "what a machine's own programs need"},
	}
	for _, l := range least {
		if l.quantity == nil {
			continue
		}
		if l.quantity.Sign() <= 0 {
			errs = append(errs, field.Invalid(path.Child(l.name), l.quantity.String(), "must be greater than zero; leave it out for no limit"))
		} else if l.quantity.Cmp(resource.MustParse(l.minimum)) < 0 {
			errs = append(errs, field.Invalid(path.Child(l.name), l.quantity.String(), fmt.Sprintf("must be at least %s, %s", l.minimum, l.because)))
		}
	}
	return errs
}

// fileRoots are the directories of a machine that are its own.
func fileRoots() []string { return []string{"/etc/", "/opt/", "/tmp/", "/var/lib/", "/var/log/"} }

func validateFiles(files map[string]string, path *field.Path) (errs field.ErrorList) {
	for name := range files {
		own := func(root string) bool { return strings.HasPrefix(name, root) }
		switch {
		case strings.ContainsRune(name, 0):
			errs = append(errs, validatePassable(name, path.Key(name))...)
		case filepath.Clean(name) != name:
			errs = append(errs, field.Invalid(path.Key(name), name, "must be an absolute path without dots: "+filepath.Clean("/"+name)))
		case !slices.ContainsFunc(fileRoots(), own):
			errs = append(errs, field.Invalid(path.Key(name), name, "must be below one of "+strings.Join(fileRoots(), ", ")))
		}
	}
	return errs
}

func validateNetwork(n Network, path *field.Path) (errs field.ErrorList) {
	ranges := []struct{ name, cidr string }{{"fabricCIDR", n.FabricCIDR}, {"podCIDR", n.PodCIDR}, {"serviceCIDR", n.ServiceCIDR}}
	most := map[string]int{"fabricCIDR": maxFabricBits, "podCIDR": 24, "serviceCIDR": 24}
	parsed := map[string]netip.Prefix{}
	for _, r := range ranges {
		prefix, err := netip.ParsePrefix(r.cidr)
		switch {
		case err != nil || !prefix.Addr().Is4():
			errs = append(errs, field.Invalid(path.Child(r.name), r.cidr, "must be an IPv4 range in CIDR notation, such as 10.77.0.0/16"))
			continue
		case prefix != prefix.Masked():
			errs = append(errs, field.Invalid(path.Child(r.name), r.cidr, fmt.Sprintf("must have no address bits beyond the prefix: %s", prefix.Masked())))
			continue
		case prefix.Bits() > most[r.name]:
			errs = append(errs, field.Invalid(path.Child(r.name), r.cidr, fmt.Sprintf("must be /%d or larger", most[r.name])))
			continue
		}
		for other, o := range parsed {
			if o.Overlaps(prefix) {
				errs = append(errs, field.Invalid(path.Child(r.name), r.cidr, "must not overlap "+other))
			}
		}
		parsed[r.name] = prefix
	}
	for _, problem := range validation.IsDNS1123Subdomain(n.Domain) {
		errs = append(errs, field.Invalid(path.Child("domain"), n.Domain, problem))
	}
	return errs
}

// ValidateComponent says what is wrong with a change of one component.
func ValidateComponent(name string, c Component) error {
	return validateComponent(name, c, field.NewPath("components").Key(name)).ToAggregate()
}

func validateComponent(name string, c Component, path *field.Path) (errs field.ErrorList) {
	if !slices.Contains(ComponentNames(), name) {
		return field.ErrorList{field.NotSupported(path, name, ComponentNames())}
	}
	if c.Program != "" {
		info, err := os.Stat(c.Program)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(path.Child("program"), c.Program, err.Error()))
		case info.IsDir() || info.Mode()&0o111 == 0:
			errs = append(errs, field.Invalid(path.Child("program"), c.Program, "must be an executable file"))
		}
	}
	for i, variable := range c.Env {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" {
			errs = append(errs, field.Invalid(path.Child("env").Index(i), variable, "must be NAME=VALUE"))
		}
		errs = append(errs, validatePassable(variable, path.Child("env").Index(i))...)
	}
	for i, arg := range c.Args {
		errs = append(errs, validatePassable(arg, path.Child("args").Index(i))...)
	}
	return errs
}

// validatePassable refuses what no program can be given.
func validatePassable(text string, path *field.Path) field.ErrorList {
	if strings.ContainsRune(text, 0) {
		return field.ErrorList{field.Invalid(path, text, "must not contain a NUL character")}
	}
	return nil
}
