package accounttoken

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	restful "github.com/emicklei/go-restful/v3"
	jose "gopkg.in/go-jose/go-jose.v2"
)

// Paths of the documents that let others verify tokens, by OpenID Connect Discovery 1.0.
const (
	configurationPath = "/.well-known/openid-configuration"
	keysPath          = "/openid/v1/jwks"
)

// Discovery publishes an issuer and its keys.
type Discovery struct {
	configuration, keys []byte
}

// NewDiscovery describes the issuer. The keys are said to be at jwksURI or, when that is empty,
// at this server's external address.
func NewDiscovery(issuer, jwksURI, externalAddress string, keys []Key) (*Discovery, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("issuer URL must use https scheme and have neither query nor fragment, got: %s", issuer)
	}
	if jwksURI == "" {
		jwksURI = (&url.URL{Scheme: "https", Host: externalAddress, Path: keysPath}).String()
	}
	var set jose.JSONWebKeySet
	algorithms := []string{}
	for _, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public, KeyID: key.ID, Algorithm: string(key.Algorithm), Use: "sig"})
		if !slices.Contains(algorithms, string(key.Algorithm)) {
			algorithms = append(algorithms, string(key.Algorithm))
		}
	}
	slices.Sort(algorithms)
	d := &Discovery{}
	if d.keys, err = json.Marshal(set); err != nil {
		return nil, err
	}
	d.configuration, err = json.Marshal(struct {
		Issuer     string   `json:"issuer"`
		Keys       string   `json:"jwks_uri"`
		Responses  []string `json:"response_types_supported"`
		Subjects   []string `json:"subject_types_supported"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}{issuer, jwksURI, []string{"id_token"}, []string{"public"}, algorithms})
	return d, err
}

// Install serves the documents.
func (d *Discovery) Install(container *restful.Container) {
	for path, doc := range map[string]struct {
		body                    []byte
		mediaType, method, says string
	}{
		configurationPath: {d.configuration, "application/json", "getServiceAccountIssuerOpenIDConfiguration",
			"get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"},
		keysPath: {d.keys, "application/jwk-set+json", "getServiceAccountIssuerOpenIDKeyset",
			"get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"},
	} {
		service := new(restful.WebService)
		service.Path(path)
		service.Route(service.GET("").Doc(doc.says).Operation(doc.method).Produces(doc.mediaType).Returns(http.StatusOK, "OK", "").
			To(func(_ *restful.Request, response *restful.Response) {
				response.Header().Set("Content-Type", doc.mediaType)
				response.Header().Set("Cache-Control", "public, max-age=3600")
				_, _ = response.Write(doc.body)
			}))
		container.Add(service)
	}
}
