package apiserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/apiserver/authorization/policy"
	"github.com/plumbline/plumbline/components/apiserver/flowcontrol"
	"github.com/plumbline/plumbline/components/apiserver/inprocess"
	"github.com/plumbline/plumbline/components/apiserver/resources/scheduling"
)

// startBootstrap stores, while the rest of the server is being built, the objects that every
// cluster has.
func (s *server) startBootstrap(ctx context.Context) {
	go func() {
		retry := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 2, Cap: time.Second, Steps: 1 << 20}
		err := wait.ExponentialBackoffWithContext(ctx, retry, func(ctx context.Context) (bool, error) {
			// The flows of requests first: from when the server listens, they decide who is served.
			err := errors.Join(flowcontrol.Ensure(ctx, s.direct, s.scheme.Default), s.ensureNamespaces(ctx), s.ensurePriorityClasses(ctx), s.ensureRoles(ctx), s.ensureServiceCIDR(ctx), s.ensureTrust(ctx))
			if err != nil {
				klog.ErrorS(err, "The objects every cluster has cannot be stored yet")
			}
			return err == nil, nil
		})
		if err == nil && s.rolesKnown(ctx) {
			close(s.rolesReady)
		}
		// Roles and the rest may be changed by whoever runs the cluster; these may not stay away.
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			if err := errors.Join(s.ensureNamespaces(ctx), s.ensureTrust(ctx), flowcontrol.Ensure(ctx, s.direct, s.scheme.Default)); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Not all of the objects every cluster has could be brought back")
			}
		}, time.Minute)
	}()
}

// waitForBootstrap holds readiness back until the objects are there.
func (s *server) waitForBootstrap(ctx genericapiserver.PostStartHookContext) error {
	select {
	case <-s.rolesReady:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *server) ensureNamespaces(ctx context.Context) error {
	var errs []error
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		_, err := s.direct.Create(ctx, corev1.Resource("namespaces"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			errs = append(errs, fmt.Errorf("namespace %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *server) ensurePriorityClasses(ctx context.Context) error {
	var errs []error
	for _, class := range scheduling.SystemPriorityClasses() {
		if _, err := s.direct.Create(ctx, schedulingv1.Resource("priorityclasses"), class); err != nil && !apierrors.IsAlreadyExists(err) {
			errs = append(errs, fmt.Errorf("priority class %s: %w", class.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *server) ensureRoles(ctx context.Context) error {
	roles, err := policy.Default(s.features)
	if err != nil {
		return err
	}
	return roles.Ensure(ctx, policyStores{s.direct})
}

// rolesKnown waits until the authorizer's informers have seen the roles.
func (s *server) rolesKnown(ctx context.Context) bool {
	roles, err := policy.Default(s.features)
	if err != nil {
		return false
	}
	type key struct{ kind, namespace, name string }
	keyOf := func(obj any) key {
		accessor, _ := meta.Accessor(obj)
		return key{fmt.Sprintf("%T", obj), accessor.GetNamespace(), accessor.GetName()}
	}
	var lock sync.Mutex
	unseen, done := map[key]bool{}, make(chan struct{})
	for _, obj := range roles.Objects() {
		unseen[keyOf(obj)] = true
	}
	see := func(obj any) {
		lock.Lock()
		defer lock.Unlock()
		if k := keyOf(obj); unseen[k] {
			if delete(unseen, k); len(unseen) == 0 {
				close(done)
			}
		}
	}
	informers := s.informers.Rbac().V1()
	for _, informer := range []cache.SharedIndexInformer{
		informers.Roles().Informer(), informers.ClusterRoles().Informer(),
		informers.RoleBindings().Informer(), informers.ClusterRoleBindings().Informer(),
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see})
		if err != nil {
			return false
		}
		defer func() { _ = informer.RemoveEventHandler(registration) }()
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// policyStores writes RBAC objects straight to their stores.
type policyStores struct{ stores inprocess.Stores }

func rbacResource(name string) schema.GroupResource {
	return rbacv1.SchemeGroupVersion.WithResource(name).GroupResource()
}

func (p policyStores) List(ctx context.Context, resource string) ([]runtime.Object, error) {
	return p.stores.List(ctx, rbacResource(resource), metav1.NamespaceAll)
}

func (p policyStores) Create(ctx context.Context, resource string, obj runtime.Object) error {
	_, err := p.stores.Create(ctx, rbacResource(resource), obj)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (p policyStores) Update(ctx context.Context, resource string, obj runtime.Object) error {
	_, err := p.stores.Update(ctx, rbacResource(resource), obj)
	return err
}

func (p policyStores) Replace(ctx context.Context, resource string, obj runtime.Object) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if err := p.stores.Delete(ctx, rbacResource(resource), accessor.GetNamespace(), accessor.GetName()); err != nil {
		return err
	}
	return p.Create(ctx, resource, obj)
}
