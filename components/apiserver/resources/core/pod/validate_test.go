package pod

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// webPod is valid, with one container of each kind that a new pod may have.
func webPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{{Name: "data"}},
			InitContainers: []corev1.Container{
				{Name: "prepare", Image: "busybox:1"},
				{Name: "proxy", Image: "envoy:1", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
			},
			Containers: []corev1.Container{{
				Name: "nginx", Image: "nginx:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}},
				VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
			}},
		},
	}
}

// said lists errors as "spec.field: detail", the first line of each.
func said(errs field.ErrorList) []string {
	var list []string
	for _, e := range errs {
		detail, _, _ := strings.Cut(e.Detail, "\n")
		list = append(list, e.Field+": "+strings.TrimSpace(e.Type.String()+" "+detail))
	}
	return list
}

func quantities(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func TestValidateCreate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"nothing": {change: func(*corev1.Pod) {}},
		"a group": {change: func(p *corev1.Pod) { p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: ptr.To("g")} }},
		"a group without a name": {
			func(p *corev1.Pod) { p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{} },
			[]string{"spec.schedulingGroup.podGroupName: Invalid value must specify one of: `podGroupName`"},
		},
		"a group that no object can be": {
			func(p *corev1.Pod) { p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: ptr.To("G")} },
			[]string{"spec.schedulingGroup.podGroupName: Invalid value " + apivalidation.NameIsDNSSubdomain("G", false)[0]},
		},
		"no containers": {
			func(p *corev1.Pod) { p.Spec.Containers = nil },
			[]string{"spec.containers: Required value"},
		},
		"two containers of one name": {
			func(p *corev1.Pod) { p.Spec.InitContainers[0].Name = "nginx" },
			[]string{"spec.initContainers[0].name: Duplicate value"},
		},
		"request over limit": {
			func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: quantities("cpu", "1"), Requests: quantities("cpu", "2")}
			},
			[]string{"spec.containers[0].resources.requests: Invalid value must be less than or equal to cpu limit of 1"},
		},
		"huge pages alone and cut": {
			func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = quantities("hugepages-2Mi", "3Mi") },
			[]string{
				"spec.containers[0].resources: Forbidden HugePages require cpu or memory",
				"spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value 3Mi is not positive integer multiple of hugepages-2Mi",
				"spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value 3Mi is not positive integer multiple of hugepages-2Mi",
			},
		},
		"mount of nothing": {
			func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts[0].Name = "lost" },
			[]string{"spec.containers[0].volumeMounts[0].name: Not found"},
		},
		"two sources in a volume": {
			func(p *corev1.Pod) {
				p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}, HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
			},
			[]string{
				"spec.containers[0].volumeMounts[0].name: Not found",
				"spec.volumes[0].hostPath: Forbidden may not specify more than 1 volume type",
			},
		},
		"probe without handler": {
			func(p *corev1.Pod) { p.Spec.Containers[0].LivenessProbe = &corev1.Probe{SuccessThreshold: 2} },
			[]string{
				"spec.containers[0].livenessProbe.successThreshold: Invalid value must be 1",
				"spec.containers[0].livenessProbe: Required value must specify a handler type",
			},
		},
		"probe of an init container": {
			func(p *corev1.Pod) {
				p.Spec.InitContainers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}}
			},
			[]string{"spec.initContainers[0].readinessProbe: Forbidden may not be set for init containers without restartPolicy=Always"},
		},
		"variable of two sources": {
			func(p *corev1.Pod) {
				p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "x", ValueFrom: &corev1.EnvVarSource{
					FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.phase"}}}}
			},
			[]string{
				"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
				"spec.containers[0].env[0].valueFrom: Invalid value may not be specified when `value` is not empty",
			},
		},
		"host network with another host port": {
			func(p *corev1.Pod) { p.Spec.HostNetwork, p.Spec.Containers[0].Ports[0].HostPort = true, 81 },
			[]string{"spec.containers[0].ports[0].hostPort: Invalid value must match `containerPort` when `hostNetwork` is true"},
		},
		"sysctl of the host": {
			func(p *corev1.Pod) {
				p.Spec.HostIPC = true
				p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.shm_rmid_forced", Value: "1"}}}
			},
			[]string{"spec.securityContext.sysctls[0].name: Invalid value may not be specified when 'hostIPC' is true"},
		},
		"privileged without escalation": {
			func(p *corev1.Pod) {
				p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false)}
			},
			[]string{"spec.containers[0].securityContext: Invalid value cannot set `allowPrivilegeEscalation` to false and `privileged` to true"},
		},
		"toleration of everything that names a value": {
			func(p *corev1.Pod) {
				p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists, Value: "x", TolerationSeconds: ptr.To[int64](1)}}
			},
			[]string{
				"spec.tolerations[0].effect: Invalid value effect must be 'NoExecute' when `tolerationSeconds` is set",
				"spec.tolerations[0].operator: Invalid value value must be empty when `operator` is 'Exists'",
			},
		},
		"spread constraint twice": {
			func(p *corev1.Pod) {
				one := corev1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule}
				p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{one, one}
			},
			[]string{"spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value"},
		},
		"gated and bound": {
			func(p *corev1.Pod) {
				p.Spec.NodeName, p.Spec.SchedulingGates = "n1", []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
			},
			[]string{"spec.nodeName: Forbidden cannot be set until all schedulingGates have been cleared"},
		},
		"resolver none without servers": {
			func(p *corev1.Pod) { p.Spec.DNSPolicy, p.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{} },
			[]string{"spec.dnsConfig.nameservers: Required value must provide at least one DNS nameserver when `dnsPolicy` is None"},
		},
		"windows with a user": {
			func(p *corev1.Pod) {
				p.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
				p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1), SELinuxOptions: &corev1.SELinuxOptions{}}
			},
			[]string{
				"spec.securityContext.runAsUser: Forbidden cannot be set for a windows pod",
				"spec.securityContext.seLinuxOptions: Forbidden cannot be set for a windows pod",
			},
		},
		"claim that is not the pod's": {
			func(p *corev1.Pod) {
				p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: ptr.To("g")}}
				p.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "gpu", Request: "a"}, {Name: "fpga"}}
			},
			[]string{"spec.containers[0].resources.claims[1]: Not found must be one of the names in pod.spec.resourceClaims: gpu"},
		},
		"mirror pod without a node": {
			func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
			[]string{"metadata.annotations[kubernetes.io/config.mirror]: Invalid value must set spec.nodeName if mirror pod annotation is set"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := webPod()
			c.change(p)
			Default(p)
			got := said(validateCreate(p))
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

// A rule that the stored pod breaks already is not held against an update of it.
func TestUpdateToleratesWhatIsStored(t *testing.T) {
	for name, breakRule := range map[string]func(*corev1.Pod){
		"label value in an affinity": func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: []string{"not a label"}}}}}}}}
		},
		"token outside its volume": func(p *corev1.Pod) {
			p.Spec.ServiceAccountName = "sa"
			p.Spec.Volumes[0].Projected = &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "../token"}}}}
		},
		"part of a huge page": func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = quantities("hugepages-2Mi", "3Mi", "cpu", "1")
		},
		"deletion cost": func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "+1"} },
	} {
		t.Run(name, func(t *testing.T) {
			old := webPod()
			breakRule(old)
			Default(old)
			if len(validateCreate(old)) == 0 {
				t.Fatal("a new pod like this is accepted")
			}
			p := old.DeepCopy()
			p.Spec.Containers[0].Image = "nginx:2"
			if errs := validateUpdate(p, old); len(errs) > 0 {
				t.Errorf("update refused: %v", errs)
			}
		})
	}
}

func TestValidateUpdate(t *testing.T) {
	const immutable = "spec: Forbidden pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
		"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
		"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
	for name, c := range map[string]struct {
		before, change func(*corev1.Pod)
		want           []string
	}{
		"image":    {change: func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = "busybox:2" }},
		"hostname": {change: func(p *corev1.Pod) { p.Spec.Hostname = "x" }, want: []string{immutable}},
		"resources": {
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "1") },
			want:   []string{immutable},
		},
		"later deadline": {
			before: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) },
			change: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](6) },
			want:   []string{"spec.activeDeadlineSeconds: Invalid value must be less than or equal to previous value"},
		},
		"toleration lost": {
			before: func(p *corev1.Pod) {
				p.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists}}
			},
			change: func(p *corev1.Pod) { p.Spec.Tolerations[0].Key = "b" },
			want:   []string{"spec.tolerations: Forbidden existing toleration can not be modified except its tolerationSeconds"},
		},
		"gate added": {
			change: func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}} },
			want:   []string{"spec.schedulingGates[0].name: Forbidden only deletion is allowed, but found new scheduling gate 'a'"},
		},
		"selector of a gated pod narrowed": {
			before: func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}} },
			change: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} },
		},
		"selector of a gated pod widened": {
			before: func(p *corev1.Pod) {
				p.Spec.SchedulingGates, p.Spec.NodeSelector = []corev1.PodSchedulingGate{{Name: "a"}}, map[string]string{"disk": "ssd"}
			},
			change: func(p *corev1.Pod) { p.Spec.NodeSelector = nil },
			want:   []string{"spec.nodeSelector: Invalid value only additions to spec.nodeSelector are allowed (no mutations or deletions)"},
		},
		"container added": {
			change: func(p *corev1.Pod) {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "b", Image: "b"})
			},
			want: []string{"spec.containers: Forbidden pod updates may not add or remove containers"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			old := webPod()
			if c.before != nil {
				c.before(old)
			}
			Default(old)
			p := old.DeepCopy()
			c.change(p)
			Default(p)
			if got := said(validateUpdate(p, old)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestValidateResize(t *testing.T) {
	for name, c := range map[string]struct {
		before, change func(*corev1.Pod)
		want           []string
	}{
		"cpu": {change: func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = quantities("cpu", "200m", "memory", "1Gi")
		}},
		"new class": {
			before: func(p *corev1.Pod) { p.Spec.InitContainers = nil },
			change: func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Limits = quantities("cpu", "100m", "memory", "1Gi")
			},
			want: []string{"spec: Invalid value Pod QOS Class may not change as a result of resizing"},
		},
		"memory request lost": {
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities("cpu", "100m") },
			want:   []string{"spec.containers[0].resources.requests: Forbidden resource requests cannot be removed"},
		},
		"image as well": {
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "nginx:2" },
			want:   []string{"spec: Forbidden only cpu and memory resources are mutable"},
		},
		"kubelet that cannot": {
			before: func(p *corev1.Pod) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "nginx", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
			},
			change: func(*corev1.Pod) {},
			want:   []string{"spec: Forbidden Pod running on node without support for resize"},
		},
		"static pod": {
			before: func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
			change: func(*corev1.Pod) {},
			want:   []string{"[]: Forbidden static pods cannot be resized"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			old := webPod()
			old.Spec.Containers[0].Resources.Requests = quantities("cpu", "100m", "memory", "1Gi")
			if c.before != nil {
				c.before(old)
			}
			Default(old)
			p := old.DeepCopy()
			c.change(p)
			if got := said(validateResize(p, old)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
