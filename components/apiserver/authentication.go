package apiserver

import (
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/apiserver/authentication/accounttoken"
	"github.com/plumbline/plumbline/components/apiserver/authentication/bootstraptoken"
	"github.com/plumbline/plumbline/components/apiserver/authentication/clientcert"
	"github.com/plumbline/plumbline/components/apiserver/stack"
)

// applyAuthentication builds the chain of authenticators, in upstream's order, and tells the
// listener which client certificates to ask for.
func (s *server) applyAuthentication() error {
	c, info := &s.config.Authentication, &s.generic.Authentication
	info.APIAudiences = c.Audiences
	var chain []authenticator.Request
	frontProxy, err := c.RequestHeader.ToAuthenticationRequestHeaderConfig()
	if err != nil {
		return err
	}
	if frontProxy != nil {
		if err := info.ApplyClientCert(frontProxy.CAContentProvider, s.generic.SecureServing); err != nil {
			return err
		}
		info.RequestHeaderConfig = frontProxy
		header := clientcert.New(frontProxy.CAContentProvider.VerifyOptions, func(options x509.VerifyOptionFunc) authenticator.Request {
			return headerrequest.NewDynamicVerifyOptionsSecure(options, frontProxy.AllowedClientNames,
				frontProxy.UsernameHeaders, frontProxy.UIDHeaders, frontProxy.GroupHeaders, frontProxy.ExtraHeaderPrefixes)
		})
		chain = append(chain, authenticator.WrapAudienceAgnosticRequest(info.APIAudiences, header))
	}
	clientCA, err := c.ClientCert.GetClientCAContentProvider()
	if err != nil {
		return err
	}
	if clientCA != nil {
		if err := info.ApplyClientCert(clientCA, s.generic.SecureServing); err != nil {
			return err
		}
		chain = append(chain, clientcert.New(clientCA.VerifyOptions, func(options x509.VerifyOptionFunc) authenticator.Request {
			return x509.NewDynamic(options, x509.CommonNameUserConversion)
		}))
	}
	tokens, err := s.tokenAuthenticator()
	if err != nil {
		return err
	}
	if tokens != nil {
		chain = append(chain, bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens))
	}
	info.Authenticator = group.NewAuthenticatedGroupAdder(union.New(chain...))
	if c.Anonymous {
		// A wrong token is an error; only the absence of any makes a client anonymous.
		info.Authenticator = union.NewFailOnError(info.Authenticator, anonymous.NewAuthenticator(nil))
	}
	info.Authenticator = stack.Authenticator{Request: info.Authenticator}
	return nil
}

// tokenAuthenticator recognises all kinds of tokens; nil when there are none.
func (s *server) tokenAuthenticator() (authenticator.Token, error) {
	c := &s.config.Authentication
	var kinds []authenticator.Token
	if c.TokenFile != "" {
		static, err := tokenfile.NewCSV(c.TokenFile)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, authenticator.WrapAudienceAgnosticToken(c.Audiences, static))
	}
	if len(c.Issuers) > 0 {
		var err error
		if s.accountKeys, err = c.accountKeys(); err != nil {
			return nil, err
		}
		kinds = append(kinds, &accounttoken.Verifier{Issuers: c.Issuers, Keys: s.accountKeys, Audiences: c.Audiences, Objects: s.direct})
	}
	if c.BootstrapTokens {
		kinds = append(kinds, authenticator.WrapAudienceAgnosticToken(c.Audiences, bootstraptoken.New(s.direct)))
	}
	if len(kinds) == 0 {
		return nil, nil
	}
	return tokencache.New(tokenunion.New(kinds...), true, 10*time.Second, 0), nil
}

// accountKeys are the keys that verify tokens: those given, or that of the signer.
func (a *AuthenticationConfig) accountKeys() ([]accounttoken.Key, error) {
	if len(a.KeyFiles) > 0 {
		return accounttoken.LoadKeys(a.KeyFiles)
	}
	return accounttoken.LoadKeys([]string{a.SigningKeyFile})
}

// publishIssuer serves what others need to verify service-account tokens.
func (s *server) publishIssuer(core *genericapiserver.GenericAPIServer, config *genericapiserver.Config) error {
	c := &s.config.Authentication
	if len(c.Issuers) == 0 {
		return nil
	}
	discovery, err := accounttoken.NewDiscovery(c.Issuers[0], c.JWKSURI, config.ExternalAddress, s.accountKeys)
	if err != nil {
		klog.ErrorS(err, "The service-account issuer is not published")
		return nil
	}
	discovery.Install(core.Handler.GoRestfulContainer)
	return nil
}
