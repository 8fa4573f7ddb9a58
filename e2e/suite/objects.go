package suite

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/framework/expect"
)

// Images that a cluster under test must have or be able to pull.
const (
	// Agent is the suites' own program: servers that tell who was asked by whom, clients
	// that count failures, processes that use things up. See fixtures/images/agent.
	Agent = "plumbline.dev/agent:v1"
	// Pause does nothing.
	Pause = "registry.k8s.io/pause:3.10.2"
)

// AgentPort is the port that the agent's server answers HTTP on.
const AgentPort = 8080

// AgentContainer runs the agent with a command line; without one it serves.
func AgentContainer(arguments ...string) corev1.Container {
	return corev1.Container{Name: "agent", Image: Agent, ImagePullPolicy: corev1.PullIfNotPresent, Args: arguments}
}

// ServingContainer serves on AgentPort and is ready once it does.
func ServingContainer() corev1.Container {
	container := AgentContainer("serve")
	container.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: AgentPort}}
	container.ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromString("http")}},
		PeriodSeconds: 1,
	}
	return container
}

// Pod is a pod of one container that ends quickly.
func Pod(namespace, name string, container corev1.Container) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers:                    []corev1.Container{container},
		},
	}
}

// OnNode pins a pod to a node, past the scheduler.
func OnNode(pod *corev1.Pod, node string) *corev1.Pod {
	pod.Spec.NodeName = node
	return pod
}

// Deployment has the label and selector app=name.
func Deployment(namespace, name string, replicas int32, container corev1.Container) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					Containers:                    []corev1.Container{container},
				},
			},
		},
	}
}

// Service selects app=name and leads from port 80 to the container's port "http".
func Service(namespace, name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}
}

// Create makes an object, which must succeed.
func (s *Suite) Create(ctx context.Context, objects ...client.Object) {
	ginkgo.GinkgoHelper()
	for _, object := range objects {
		gomega.Expect(s.Client.Create(ctx, object)).To(gomega.Succeed(), "creating %T %s", object, object.GetName())
	}
}

// Delete deletes an object with a propagation policy, which must succeed.
func (s *Suite) Delete(ctx context.Context, object client.Object, policy metav1.DeletionPropagation) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Client.Delete(ctx, object, client.PropagationPolicy(policy))).
		To(gomega.Succeed(), "deleting %T %s", object, object.GetName())
}

// Patch changes an object as it is at the server, by a merge patch of what change does.
func Patch[T client.Object](ctx context.Context, s *Suite, object T, change func(T)) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(gomega.Succeed())
	before := object.DeepCopyObject().(client.Object)
	change(object)
	gomega.Expect(s.Client.Patch(ctx, object, client.MergeFrom(before))).
		To(gomega.Succeed(), "changing %T %s", object, object.GetName())
}

// CreateReady makes pods and waits until each is Ready.
func (s *Suite) CreateReady(ctx context.Context, pods ...*corev1.Pod) {
	ginkgo.GinkgoHelper()
	for _, pod := range pods {
		s.Create(ctx, pod)
	}
	for _, pod := range pods {
		gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
	}
}

// CreateRolledOut makes a Deployment and waits until all of it is available.
func (s *Suite) CreateRolledOut(ctx context.Context, deployment *appsv1.Deployment) {
	ginkgo.GinkgoHelper()
	s.Create(ctx, deployment)
	gomega.Expect(s.Watch.Until(ctx, deployment, expect.BeRolledOut())).To(gomega.Succeed())
}

// PodsOf lists the pods with the label app=name.
func (s *Suite) PodsOf(ctx context.Context, namespace, name string) []corev1.Pod {
	ginkgo.GinkgoHelper()
	var list corev1.PodList
	gomega.Expect(s.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{"app": name})).To(gomega.Succeed())
	return list.Items
}
