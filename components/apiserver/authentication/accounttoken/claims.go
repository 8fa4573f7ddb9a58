package accounttoken

import (
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// privateClaims are what a token says beside the standard claims.
type privateClaims struct {
	Kubernetes bound `json:"kubernetes.io,omitempty"`
}

type bound struct {
	Namespace string           `json:"namespace,omitempty"`
	Account   reference        `json:"serviceaccount,omitempty"`
	Pod       *reference       `json:"pod,omitempty"`
	Secret    *reference       `json:"secret,omitempty"`
	Node      *reference       `json:"node,omitempty"`
	WarnAfter *jwt.NumericDate `json:"warnafter,omitempty"`
}

type reference struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

func referenceTo(obj runtime.Object) *reference {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil
	}
	return &reference{Name: accessor.GetName(), UID: string(accessor.GetUID())}
}

// Issuer signs tokens.
type Issuer struct {
	name   string
	signer jose.Signer
}

// NewIssuer signs with the private key in a PEM file, in the name of an issuer.
func NewIssuer(name, keyFile string) (*Issuer, error) {
	signer, err := newSigner(keyFile)
	if err != nil {
		return nil, err
	}
	return &Issuer{name: name, signer: signer}, nil
}

// life is how long a token lives.
type life struct {
	from    time.Time
	seconds int64
	// warnAfter is when, in seconds, using it starts to count as stale; 0 for never.
	warnAfter int64
}

func (l life) after(seconds int64) *jwt.NumericDate {
	return jwt.NewNumericDate(l.from.Add(time.Duration(seconds) * time.Second))
}

// issue makes a token; it returns the token's id too.
func (i *Issuer) issue(what bound, audiences []string, l life) (token, id string, err error) {
	public := jwt.Claims{
		Issuer:    i.name,
		Subject:   serviceaccount.MakeUsername(what.Namespace, what.Account.Name),
		Audience:  audiences,
		Expiry:    l.after(l.seconds),
		NotBefore: l.after(0),
		IssuedAt:  l.after(0),
		ID:        string(uuid.NewUUID()),
	}
	if l.warnAfter != 0 {
		what.WarnAfter = l.after(l.warnAfter)
	}
	token, err = jwt.Signed(i.signer).Claims(privateClaims{what}).Claims(public).CompactSerialize()
	return token, public.ID, err
}
