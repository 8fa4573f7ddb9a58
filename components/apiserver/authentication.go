package apiserver

import (
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// applyAuthentication builds the chain of authenticators, in upstream's order, and tells the
// listener which client certificates to ask for.
func (c *AuthenticationConfig) applyAuthentication(config *genericapiserver.Config) error {
	var chain []authenticator.Request
	frontProxy, err := c.RequestHeader.ToAuthenticationRequestHeaderConfig()
	if err != nil {
		return err
	}
	if frontProxy != nil {
		if err := config.Authentication.ApplyClientCert(frontProxy.CAContentProvider, config.SecureServing); err != nil {
			return err
		}
		config.Authentication.RequestHeaderConfig = frontProxy
		chain = append(chain, headerrequest.NewDynamicVerifyOptionsSecure(
			frontProxy.CAContentProvider.VerifyOptions, frontProxy.AllowedClientNames,
			frontProxy.UsernameHeaders, frontProxy.UIDHeaders, frontProxy.GroupHeaders, frontProxy.ExtraHeaderPrefixes))
	}
	clientCA, err := c.ClientCert.GetClientCAContentProvider()
	if err != nil {
		return err
	}
	if clientCA != nil {
		if err := config.Authentication.ApplyClientCert(clientCA, config.SecureServing); err != nil {
			return err
		}
		chain = append(chain, x509.NewDynamic(clientCA.VerifyOptions, x509.CommonNameUserConversion))
	}
	known := group.NewAuthenticatedGroupAdder(union.New(chain...))
	if c.Anonymous {
		config.Authentication.Authenticator = union.NewFailOnError(known, anonymous.NewAuthenticator(nil))
	} else {
		config.Authentication.Authenticator = known
	}
	config.Authentication.APIAudiences = c.Audiences
	return nil
}
