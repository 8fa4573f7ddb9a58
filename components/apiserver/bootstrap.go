package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/plumbline/plumbline/components/apiserver/resources/scheduling"
)

// addBootstrap makes sure, once the server answers, of the objects that every cluster has.
func (s *server) addBootstrap(core *genericapiserver.GenericAPIServer) error {
	if err := core.AddPostStartHook("scheduling/bootstrap-system-priority-classes", func(ctx genericapiserver.PostStartHookContext) error {
		for _, class := range scheduling.SystemPriorityClasses() {
			if _, err := s.client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return core.AddPostStartHook("bootstrap-namespaces", func(ctx genericapiserver.PostStartHookContext) error {
		for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
			if _, err := s.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
		}
		return nil
	})
}
