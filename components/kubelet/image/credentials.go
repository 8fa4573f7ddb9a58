package image

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// login is one registry's entry of a docker configuration.
type login struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Credentials finds the credentials that pull secrets hold for an image, the most
// specific first. Without any there is one nil: ask anonymously.
// See https://kubernetes.io/docs/concepts/containers/images/#config-json.
func Credentials(image string, secrets []*v1.Secret) ([]*runtimeapi.AuthConfig, error) {
	type match struct {
		pattern string
		auth    *runtimeapi.AuthConfig
	}
	var matches []match
	for _, secret := range secrets {
		logins, err := loginsOf(secret)
		if err != nil {
			return nil, fmt.Errorf("pull secret %s/%s: %w", secret.Namespace, secret.Name, err)
		}
		for pattern, l := range logins {
			if covers(pattern, image) {
				auth, err := l.config(pattern)
				if err != nil {
					return nil, fmt.Errorf("pull secret %s/%s: %w", secret.Namespace, secret.Name, err)
				}
				matches = append(matches, match{pattern: pattern, auth: auth})
			}
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return len(b.pattern) - len(a.pattern) })
	if len(matches) == 0 {
		return []*runtimeapi.AuthConfig{nil}, nil
	}
	out := make([]*runtimeapi.AuthConfig, len(matches))
	for i, m := range matches {
		out[i] = m.auth
	}
	return out, nil
}

func loginsOf(secret *v1.Secret) (map[string]login, error) {
	switch secret.Type {
	case v1.SecretTypeDockerConfigJson:
		var config struct {
			Auths map[string]login `json:"auths"`
		}
		err := json.Unmarshal(secret.Data[v1.DockerConfigJsonKey], &config)
		return config.Auths, err
	case v1.SecretTypeDockercfg:
		logins := map[string]login{}
		err := json.Unmarshal(secret.Data[v1.DockerConfigKey], &logins)
		return logins, err
	}
	return nil, nil
}

func (l login) config(server string) (*runtimeapi.AuthConfig, error) {
	auth := &runtimeapi.AuthConfig{
		Username: l.Username, Password: l.Password, ServerAddress: server,
		IdentityToken: l.IdentityToken, RegistryToken: l.RegistryToken,
	}
	if l.Auth == "" {
		return auth, nil
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(l.Auth))
	if err != nil {
		raw, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(l.Auth))
	}
	if err != nil {
		return nil, fmt.Errorf("auth of %s: %w", server, err)
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok {
		return nil, fmt.Errorf("auth of %s: expected user:password in base64", server)
	}
	auth.Username, auth.Password = user, password
	return auth, nil
}

// covers says whether a registry pattern, which may have * in its host's labels and
// a path prefix, applies to an image.
func covers(pattern, image string) bool {
	if !strings.Contains(pattern, "://") {
		pattern = "https://" + pattern
	}
	want, err := url.Parse(pattern)
	if err != nil {
		return false
	}
	host, rest := splitImage(image)
	hostPattern := want.Host
	if hostPattern == "index.docker.io" || hostPattern == "registry-1.docker.io" {
		hostPattern = "docker.io"
	}
	wantPort, havePort := want.Port(), ""
	name := host
	if i := strings.LastIndex(host, ":"); i >= 0 {
		name, havePort = host[:i], host[i+1:]
	}
	if wantPort != "" && wantPort != havePort {
		return false
	}
	wantLabels := strings.Split(strings.TrimSuffix(hostPattern, ":"+wantPort), ".")
	haveLabels := strings.Split(name, ".")
	if len(wantLabels) != len(haveLabels) {
		return false
	}
	for i := range wantLabels {
		if ok, err := path.Match(wantLabels[i], haveLabels[i]); err != nil || !ok {
			return false
		}
	}
	prefix := strings.Trim(want.Path, "/")
	if prefix == "v1" || prefix == "v2" {
		prefix = ""
	}
	return strings.HasPrefix(rest, prefix)
}

// splitImage gives the registry's host and the rest of an image's name.
func splitImage(image string) (host, rest string) {
	first, rest, found := strings.Cut(image, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return "docker.io", image
	}
	if first == "index.docker.io" {
		first = "docker.io"
	}
	return first, rest
}
