package incluster

import (
	"encoding/json"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// namespace is where a run's objects are, and what each of them is called that there is
// one of. A cluster has one run at a time: two would disturb each other.
const namespace = "plumb-conformance"

// runAnnotation says which run a namespace belongs to.
const runAnnotation = "plumbline.dev/run"

func labels() map[string]string {
	return map[string]string{"app.kubernetes.io/name": namespace, "app.kubernetes.io/managed-by": "plumb"}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels()}
}

// space is the run's namespace. Its pods are privileged as far as admission asks.
func space(run string) *corev1.Namespace {
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: labels(), Annotations: map[string]string{runAnnotation: run}}}
	space.Labels["pod-security.kubernetes.io/enforce"] = "privileged"
	return space
}

func account() *corev1.ServiceAccount { return &corev1.ServiceAccount{ObjectMeta: meta(namespace)} }

// binding makes the pods administrators, which the suite has to be.
func binding() *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: labels()},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: namespace}},
	}
}

// orderMap carries an order to the pods of the Job of the same name.
func orderMap(name string, o order) (*corev1.ConfigMap, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return &corev1.ConfigMap{ObjectMeta: meta(name), Data: map[string]string{orderFile: string(data)}}, nil
}

// workingJob has a pod for each share of the order of that name. A pod that fails is not
// replaced and ends no other: what it left is ordered anew.
func workingJob(name, image string, shards int) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: meta(name),
		Spec: batchv1.JobSpec{
			Completions: ptr.To(int32(shards)), Parallelism: ptr.To(int32(shards)),
			CompletionMode:       ptr.To(batchv1.IndexedCompletion),
			BackoffLimitPerIndex: ptr.To[int32](0),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels()},
				Spec:       workingPod(name, image),
			},
		},
	}
}

func workingPod(orderName, image string) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy:      corev1.RestartPolicyNever,
		ServiceAccountName: namespace,
		// The suite taints nodes, and leaves its own pods where they are.
		Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: labels()},
		}},
		// The sandbox's first process buries what the suite's processes leave.
		ShareProcessNamespace: ptr.To(true),
		Containers: []corev1.Container{{
			Name: "suite", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"plumb", "conformance", "share", "--order", orderDirectory, "--work", workDirectory},
			Env: []corev1.EnvVar{
				{Name: "PLUMB_CACHE", Value: workDirectory + "/cache"}, {Name: "HOME", Value: workDirectory}, {Name: "TMPDIR", Value: workDirectory},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "order", MountPath: orderDirectory}, {Name: "work", MountPath: workDirectory}},
		}},
		Volumes: []corev1.Volume{
			{Name: "order", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: orderName}}}},
			{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
	}
}

func roundName(round int) string { return "round-" + strconv.Itoa(round) }
