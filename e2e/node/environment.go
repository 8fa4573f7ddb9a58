package node

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

const variables = tasks + "inject-data-application/"

func field(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func amount(name string, divisor string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: name, Divisor: resource.MustParse(divisor)}}
}

func configMap(namespace string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "settings"}, Data: data}
}

func secret(namespace string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "secrets"}, StringData: data}
}

func environmentSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.env.downward",
		Promise: "Environment variables can hold fields of the pod and its containers' resources.",
		Source:  variables + "environment-variable-expose-pod-information/", Judges: judged(),
	}, func(ctx context.Context) {
		container := suite.AgentContainer("env", "NAME", "NAMESPACE", "LABEL", "ACCOUNT", "CPU", "MEMORY", "NODE", "ADDRESS")
		container.Resources = corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		}
		container.Env = []corev1.EnvVar{
			{Name: "NAME", ValueFrom: field("metadata.name")},
			{Name: "NAMESPACE", ValueFrom: field("metadata.namespace")},
			{Name: "LABEL", ValueFrom: field("metadata.labels['app']")},
			{Name: "ACCOUNT", ValueFrom: field("spec.serviceAccountName")},
			{Name: "CPU", ValueFrom: amount("requests.cpu", "1m")},
			{Name: "MEMORY", ValueFrom: amount("limits.memory", "1Mi")},
			{Name: "NODE", ValueFrom: field("spec.nodeName")},
			{Name: "ADDRESS", ValueFrom: field("status.podIP")},
		}
		pod := task(s.Namespace(ctx), container)
		got := printed(ctx, s, pod)
		gomega.Expect(got).To(gomega.Equal([]string{
			"task", pod.Namespace, "task", "default", "50", "64", pod.Spec.NodeName, pod.Status.PodIP,
		}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.env.sources",
		Promise: "Environment variables can come from a ConfigMap or Secret, one by one or all with a prefix; an optional one may be missing.",
		Source:  tasks + "configure-pod-container/configure-pod-configmap/", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		s.Create(ctx, configMap(namespace, map[string]string{"color": "blue", "size": "large"}), secret(namespace, map[string]string{"password": "hunter2"}))
		container := shell("main", "echo $COLOR $PASSWORD $ALL_color $ALL_size $password ${MISSING-unset}")
		settings, secrets := corev1.LocalObjectReference{Name: "settings"}, corev1.LocalObjectReference{Name: "secrets"}
		optional := true
		container.EnvFrom = []corev1.EnvFromSource{
			{Prefix: "ALL_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: settings}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: secrets}},
		}
		container.Env = []corev1.EnvVar{
			{Name: "COLOR", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: settings, Key: "color"}}},
			{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: secrets, Key: "password"}}},
			{Name: "MISSING", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: settings, Key: "weight", Optional: &optional}}},
		}
		gomega.Expect(printed(ctx, s, task(namespace, container))).To(gomega.Equal([]string{"blue hunter2 blue large hunter2 unset"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.env.missing-source",
		Promise: "A container whose ConfigMap does not exist waits with the reason CreateContainerConfigError, and runs once it does.",
		Source:  tasks + "configure-pod-container/configure-pod-configmap/#restrictions", Judges: judged(),
	}, func(ctx context.Context) {
		container := shell("main", "echo $color")
		container.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
		pod := task(s.Namespace(ctx), container)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("main", "CreateContainerConfigError"))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "main").State.Waiting.Message).To(gomega.ContainSubstring(`configmap "settings" not found`))
		s.Create(ctx, configMap(pod.Namespace, map[string]string{"color": "blue"}))
		gomega.Expect(s.Watch.Until(ctx, pod, haveEnded())).To(gomega.Succeed())
		gomega.Expect(s.Logs(ctx, pod)).To(gomega.Equal("blue\n"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.env.expansion",
		Promise: "$(NAME) in variables, commands and arguments stands for an earlier variable's value; $$(NAME) for itself.",
		Source:  variables + "define-interdependent-environment-variables/", Judges: judged(),
	}, func(ctx context.Context) {
		container := shell("main", "echo $BOTH; echo \"$0 $1 $2\"")
		container.Env = []corev1.EnvVar{
			{Name: "HOST", Value: "db"}, {Name: "PORT", Value: "5432"}, {Name: "BOTH", Value: "$(HOST):$(PORT) $(LATER) $$(HOST)"}, {Name: "LATER", Value: "x"},
		}
		container.Args = []string{"$(BOTH)", "$$(HOST)", "$(NOBODY)"}
		gomega.Expect(printed(ctx, s, task(s.Namespace(ctx), container))).To(gomega.Equal([]string{
			"db:5432 $(LATER) $(HOST)", "db:5432 $(LATER) $(HOST) $(HOST) $(NOBODY)",
		}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.env.services",
		Promise: "A container has variables for each Service that its namespace had when it started.",
		Source:  concepts + "services-networking/service/#environment-variables", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		service := suite.Service(namespace, "web-site")
		s.Create(ctx, service)
		pod := task(namespace, suite.AgentContainer("env", "WEB_SITE_SERVICE_HOST", "WEB_SITE_SERVICE_PORT", "WEB_SITE_SERVICE_PORT_HTTP", "WEB_SITE_PORT_80_TCP", "KUBERNETES_SERVICE_PORT"))
		pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure // the node may learn of the Service after the pod
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{
			service.Spec.ClusterIP, "80", "80", "tcp://" + service.Spec.ClusterIP + ":80", "443",
		}))
	})
}
