package core

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Secrets hold what not everybody may read.
// https://kubernetes.io/docs/concepts/configuration/secret/
func Secrets() *resource.Definition[*corev1.Secret] {
	doc := corev1.Secret{}.SwaggerDoc()
	return &resource.Definition[*corev1.Secret]{
		Identity: identity("Secret", "secrets", "secret"),
		New:      func() *corev1.Secret { return new(corev1.Secret) },
		NewList:  func() runtime.Object { return new(corev1.SecretList) },
		Default:  defaultSecret,
		PrepareForUpdate: func(_ context.Context, s, old *corev1.Secret) {
			if s.Type == "" {
				s.Type = old.Type
			}
		},
		Validate: func(_ context.Context, s *corev1.Secret) field.ErrorList { return validateSecret(s) },
		ValidateUpdate: func(_ context.Context, s, old *corev1.Secret) field.ErrorList {
			var found problem.List
			found.Add(apivalidation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type"))...)
			if ptr.Deref(old.Immutable, false) {
				if !ptr.Deref(s.Immutable, false) {
					found.Forbidden(field.NewPath("immutable"), frozen)
				}
				if !reflect.DeepEqual(s.Data, old.Data) {
					found.Forbidden(field.NewPath("data"), frozen)
				}
			}
			found.Add(validateSecret(s)...)
			return found.Errors
		},
		Warnings: func(_ context.Context, s, _ *corev1.Secret) []string {
			if s.Type == corev1.SecretTypeTLS {
				if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
					return []string{err.Error()}
				}
			}
			return nil
		},
		Fields: func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
		Columns: []metav1.TableColumnDefinition{
			table.Name(), table.String("Type", doc["type"]), table.String("Data", doc["data"]), table.Age(),
		},
		Cells: func(s *corev1.Secret) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), table.Since(s.CreationTimestamp)}
		},
	}
}

// defaultSecret takes stringData, which only ever comes in, over into data.
func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var found problem.List
	at := field.NewPath("data")
	size := 0
	for key, value := range s.Data {
		found.Messages(at.Key(key), key, validation.IsConfigMapKey(key))
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		found.Add(field.TooLong(at, "", corev1.MaxSecretSize))
	}
	needs := func(key string) bool {
		_, has := s.Data[key]
		if !has {
			found.Required(at.Key(key), "")
		}
		return has
	}
	needsJSON := func(key string) {
		if needs(key) {
			if err := json.Unmarshal(s.Data[key], &map[string]any{}); err != nil {
				found.Invalid(at.Key(key), "<secret contents redacted>", err.Error())
			}
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		found.NonEmpty(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), s.Annotations[corev1.ServiceAccountNameKey])
	case corev1.SecretTypeDockercfg:
		needsJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		needsJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			needs(corev1.BasicAuthUsernameKey)
			needs(corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		found.NonEmpty(at.Key(corev1.SSHAuthPrivateKey), string(s.Data[corev1.SSHAuthPrivateKey]))
	case corev1.SecretTypeTLS:
		needs(corev1.TLSCertKey)
		needs(corev1.TLSPrivateKeyKey)
	}
	return found.Errors
}
