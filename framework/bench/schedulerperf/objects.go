package schedulerperf

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"

	"github.com/plumbline/plumbline/framework/bench/workload"
)

// resourceOf is where objects of a kind are.
func (s *session) resourceOf(object *unstructured.Unstructured, namespace string) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		s.mapper.Reset() // it may have been defined since
		mapping, err = s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace
	switch {
	case namespaced && namespace == "":
		return nil, fmt.Errorf("a %s is in a namespace: the operation must name one", kind.Kind)
	case namespaced:
		return s.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return s.dynamic.Resource(mapping.Resource), nil
}

func (s *session) createAny(t *workload.Template, namespace string, params map[string]any, count int) error {
	if namespace != "" {
		if err := s.ensureNamespace(namespace); err != nil {
			return err
		}
	}
	return s.each(0, count, func(index int) error {
		object, err := t.Unstructured(params, index, count)
		if err != nil {
			return err
		}
		if err := s.suit(object); err != nil {
			return fmt.Errorf("%s: %w", t.File, err)
		}
		resources, err := s.resourceOf(object, namespace)
		if err != nil {
			return fmt.Errorf("%s: %w", t.File, err)
		}
		if _, err := resources.Create(s.ctx, object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
			return fmt.Errorf("%s: %w", t.File, err)
		}
		return nil
	})
}

// updateAny replaces objects and their status, one after the other.
func (s *session) updateAny(a *workload.UpdateAny) error {
	count := countOf(a.Count)
	pace := s.pace(a.UpdatePerSecond)
	for index := range count {
		if err := pace(); err != nil {
			return err
		}
		object, err := a.TemplatePath.Unstructured(nil, index, count)
		if err != nil {
			return err
		}
		resources, err := s.resourceOf(object, a.Namespace)
		if err != nil {
			return fmt.Errorf("%s: %w", a.TemplatePath.File, err)
		}
		options := metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict}
		if _, err := resources.Update(s.ctx, object, options, a.Subresources...); err != nil {
			return fmt.Errorf("%s: %w", a.TemplatePath.File, err)
		}
		if _, err := resources.UpdateStatus(s.ctx, object, options); err != nil {
			return fmt.Errorf("%s: status: %w", a.TemplatePath.File, err)
		}
	}
	return nil
}

// pace returns a function that keeps its caller to a number of calls a second; 0 is no limit.
func (s *session) pace(perSecond int) func() error {
	begun, calls := time.Now(), 0
	return func() error {
		if perSecond == 0 {
			return s.ctx.Err()
		}
		calls++
		return s.sleep(time.Until(begun.Add(time.Duration(calls) * time.Second / time.Duration(perSecond))))
	}
}

// beside does something in the background until the operations are done.
func (s *session) beside(f func() error) {
	s.background.Go(func() error {
		if err := f(); err != nil && s.ctx.Err() == nil {
			s.failed(err)
			return err
		}
		return nil
	})
}

func (s *session) deletePod(namespace, name string, grace int64) error {
	err := s.client.CoreV1().Pods(namespace).Delete(s.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *session) deletePods(a *workload.DeletePods) error {
	remove := func() error {
		options := metav1.ListOptions{LabelSelector: labels.SelectorFromSet(a.LabelSelector).String()}
		return s.client.CoreV1().Pods(a.Namespace).DeleteCollection(s.ctx, metav1.DeleteOptions{}, options)
	}
	if a.DeletePodsPerSecond > 0 {
		names := s.pods.find(a.Namespace, a.LabelSelector)
		remove = func() error {
			pace := s.pace(a.DeletePodsPerSecond)
			for _, name := range names {
				if err := pace(); err != nil {
					return err
				}
				err := s.client.CoreV1().Pods(a.Namespace).Delete(s.ctx, name, metav1.DeleteOptions{})
				if err != nil && !apierrors.IsNotFound(err) {
					return fmt.Errorf("delete pod: %w", err)
				}
			}
			return nil
		}
	}
	if a.SkipWaitToCompletion {
		s.beside(remove)
		return nil
	}
	return remove()
}

// churn creates objects, and deletes them again where the mode is to recreate them, one
// of each template at every interval.
func (s *session) churn(a *workload.Churn, namespace string) error {
	if err := s.ensureNamespace(namespace); err != nil {
		return err
	}
	type kind struct {
		template  *workload.Template
		resources dynamic.ResourceInterface
		// names are those of the objects that there are, by the place of their turn.
		names []string
	}
	var kinds []*kind
	for _, template := range a.TemplatePaths {
		object, err := template.Unstructured(nil, 0, 1)
		if err != nil {
			return err
		}
		resources, err := s.resourceOf(object, namespace)
		if err != nil {
			return fmt.Errorf("%s: %w", template.File, err)
		}
		kinds = append(kinds, &kind{template, resources, make([]string, max(1, a.Number))})
	}
	interval := time.Duration(a.IntervalMilliseconds) * time.Millisecond
	if interval == 0 {
		interval = 500 * time.Millisecond
	}
	turn := func(k *kind, count int) error {
		place := &k.names[count%len(k.names)]
		if a.Mode == workload.Recreate && *place != "" {
			err := k.resources.Delete(s.ctx, *place, metav1.DeleteOptions{})
			*place = ""
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		object, err := k.template.Unstructured(nil, count, max(1, a.Number))
		if err != nil {
			return err
		}
		if err := s.suit(object); err != nil {
			return err
		}
		created, err := k.resources.Create(s.ctx, object, metav1.CreateOptions{})
		switch {
		case apierrors.IsAlreadyExists(err):
			return nil // one that a name is given to is created once
		case err == nil:
			*place = created.GetName()
		}
		return err
	}
	s.beside(func() error {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for count := 0; a.Mode == workload.Recreate || a.Number == 0 || count < a.Number; count++ {
			select {
			case <-ticker.C:
			case <-s.ctx.Done():
				return nil
			}
			for _, k := range kinds {
				if err := turn(k, count); err != nil && !errors.Is(err, context.Canceled) {
					return fmt.Errorf("churn of %s: %w", k.template.File, err)
				}
			}
		}
		return nil
	})
	return nil
}
