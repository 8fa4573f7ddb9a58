package accounttoken

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/keyutil"
)

type objects map[string]runtime.Object

func (o objects) Get(_ context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	if obj, ok := o[gr.Resource+"/"+namespace+"/"+name]; ok {
		return obj, nil
	}
	return nil, apierrors.NewNotFound(gr, name)
}

func (o objects) GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	return o.Get(ctx, gr, namespace, name)
}

func keyFile(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sa.key")
	if err := keyutil.WriteKey(file, text); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTokens(t *testing.T) {
	file := keyFile(t)
	issuer, err := NewIssuer("https://here", file)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	others, err := LoadKeys([]string{keyFile(t)})
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa", UID: "1"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "2"}}
	all := objects{"serviceaccounts/ns/sa": account, "pods/ns/p": pod}
	what := bound{Namespace: "ns", Account: reference{"sa", "1"}, Pod: &reference{"p", "2"}}
	issue := func(from time.Time, audience string) string {
		token, _, err := issuer.issue(what, []string{audience}, life{from: from, seconds: 3600})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := issue(time.Now(), "api")
	for _, test := range []struct {
		name     string
		verifier Verifier
		token    string
		problem  string
		foreign  bool
	}{
		{"good", Verifier{Keys: keys, Objects: all}, good, "", false},
		{"expired", Verifier{Keys: keys, Objects: all}, issue(time.Now().Add(-2*time.Hour), "api"), "has expired", false},
		{"for somebody else", Verifier{Keys: keys, Objects: all}, issue(time.Now(), "vault"), "is invalid for the target audiences", false},
		{"another key", Verifier{Keys: others, Objects: all}, good, "no keys found", false},
		{"the pod is gone", Verifier{Keys: keys, Objects: objects{"serviceaccounts/ns/sa": account}}, good, "has been invalidated", false},
		{"the account is gone", Verifier{Keys: keys, Objects: objects{}}, good, "not found", false},
		{"of another issuer", Verifier{Keys: keys, Objects: all, Issuers: []string{"https://there"}}, good, "", true},
		{"no token", Verifier{Keys: keys, Objects: all}, "abc", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.verifier.Audiences = []string{"api"}
			if test.verifier.Issuers == nil {
				test.verifier.Issuers = []string{"https://here"}
			}
			response, ok, err := test.verifier.AuthenticateToken(context.Background(), test.token)
			switch {
			case test.problem != "":
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("got %v, want %q", err, test.problem)
				}
			case test.foreign:
				if ok || err != nil {
					t.Errorf("got %v, %v; want it left to others", ok, err)
				}
			case !ok || response.User.GetName() != "system:serviceaccount:ns:sa":
				t.Errorf("got %v, %v, %v", response, ok, err)
			}
		})
	}
}
