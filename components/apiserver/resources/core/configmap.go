package core

import (
	"context"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const frozen = "field is immutable when `immutable` is set"

// ConfigMaps hold configuration as key and value.
// https://kubernetes.io/docs/concepts/configuration/configmap/
func ConfigMaps() *resource.Definition[*corev1.ConfigMap] {
	return &resource.Definition[*corev1.ConfigMap]{
		Identity: identity("ConfigMap", "configmaps", "configmap", "cm"),
		New:      func() *corev1.ConfigMap { return new(corev1.ConfigMap) },
		NewList:  func() runtime.Object { return new(corev1.ConfigMapList) },
		Validate: func(_ context.Context, c *corev1.ConfigMap) field.ErrorList { return validateConfigMap(c) },
		ValidateUpdate: func(_ context.Context, c, old *corev1.ConfigMap) field.ErrorList {
			var found problem.List
			if ptr.Deref(old.Immutable, false) {
				if !ptr.Deref(c.Immutable, false) {
					found.Forbidden(field.NewPath("immutable"), frozen)
				}
				if !reflect.DeepEqual(c.Data, old.Data) {
					found.Forbidden(field.NewPath("data"), frozen)
				}
				if !reflect.DeepEqual(c.BinaryData, old.BinaryData) {
					found.Forbidden(field.NewPath("binaryData"), frozen)
				}
			}
			found.Add(validateConfigMap(c)...)
			return found.Errors
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(), table.String("Data", corev1.ConfigMap{}.SwaggerDoc()["data"]), table.Age(),
		},
		Cells: func(c *corev1.ConfigMap) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), table.Since(c.CreationTimestamp)}
		},
	}
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var found problem.List
	size := 0
	for key, value := range c.Data {
		at := field.NewPath("data").Key(key)
		found.Messages(at, key, validation.IsConfigMapKey(key))
		if _, twice := c.BinaryData[key]; twice {
			found.Invalid(at, key, "duplicate of key present in binaryData")
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		found.Messages(field.NewPath("binaryData").Key(key), key, validation.IsConfigMapKey(key))
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		found.Add(field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return found.Errors
}
