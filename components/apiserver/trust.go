package apiserver

import (
	"context"
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
)

// trustConfigMap is where aggregated API servers read whom they may trust.
const trustConfigMap = "extension-apiserver-authentication"

// ensureTrust publishes the authorities of client certificates and how this server, as a front proxy,
// names its users.
func (s *server) ensureTrust(ctx context.Context) error {
	data, err := s.trust()
	if err != nil || len(data) == 0 {
		return err
	}
	gr := corev1.Resource("configmaps")
	stored, err := s.direct.GetLatest(ctx, gr, metav1.NamespaceSystem, trustConfigMap)
	if apierrors.IsNotFound(err) {
		_, err = s.direct.Create(ctx, gr, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: trustConfigMap}, Data: data})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	config := stored.(*corev1.ConfigMap).DeepCopy()
	if maps.Equal(config.Data, data) {
		return nil
	}
	config.Data = data
	_, err = s.direct.Update(ctx, gr, config)
	return err
}

func (s *server) trust() (map[string]string, error) {
	data := map[string]string{}
	clients, err := s.config.Authentication.ClientCert.GetClientCAContentProvider()
	if err != nil {
		return nil, err
	}
	if clients != nil {
		data["client-ca-file"] = string(clients.CurrentCABundleContent())
	}
	proxy := s.generic.Authentication.RequestHeaderConfig
	if proxy == nil {
		return data, nil
	}
	data["requestheader-client-ca-file"] = string(proxy.CAContentProvider.CurrentCABundleContent())
	for key, names := range map[string]headerrequest.StringSliceProvider{
		"requestheader-username-headers":     proxy.UsernameHeaders,
		"requestheader-uid-headers":          proxy.UIDHeaders,
		"requestheader-group-headers":        proxy.GroupHeaders,
		"requestheader-extra-headers-prefix": proxy.ExtraHeaderPrefixes,
		"requestheader-allowed-names":        proxy.AllowedClientNames,
	} {
		list := names.Value()
		if list == nil {
			list = []string{}
		}
		// This one is younger than the others, and told only where it is set.
		if key == "requestheader-uid-headers" && len(list) == 0 {
			continue
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		data[key] = string(text)
	}
	return data, nil
}
