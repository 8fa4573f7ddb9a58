package bootstrap

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/cluster-bootstrap/token/jws"
	"k8s.io/utils/clock"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

func token(id string, change map[string]string) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id},
		Type:       corev1.SecretTypeBootstrapToken,
		Data:       map[string][]byte{"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true")},
	}
	for key, value := range change {
		secret.Data[key] = []byte(value)
	}
	return secret
}

func stamp(from time.Duration) string { return time.Now().Add(from).UTC().Format(time.RFC3339) }

func TestSigningTokens(t *testing.T) {
	for what, c := range map[string]struct {
		change map[string]string
		want   bool
	}{
		"a plain one":                    {nil, true},
		"one that will expire":           {map[string]string{"expiration": stamp(time.Hour)}, true},
		"an expired one":                 {map[string]string{"expiration": stamp(-time.Hour)}, false},
		"one with an unreadable end":     {map[string]string{"expiration": "tomorrow"}, false},
		"one that is not for signing":    {map[string]string{"usage-bootstrap-signing": "false"}, false},
		"one without a secret":           {map[string]string{"token-secret": ""}, false},
		"one named after another's id":   {map[string]string{"token-id": "zzzzzz"}, false},
		"one for authentication as well": {map[string]string{"usage-bootstrap-authentication": "true"}, true},
	} {
		if id, _, ok := signing(token("abcdef", c.change), time.Now()); ok != c.want || ok && id != "abcdef" {
			t.Errorf("%s: %v %q", what, ok, id)
		}
	}
}

func run(t *testing.T, client kubernetes.Interface, build func(*controller.Env) (controller.Controller, error)) {
	t.Helper()
	c, err := build(&controller.Env{Client: client, Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func until(t *testing.T, what string, reached func(ctx context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 10*time.Second, true, reached); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestCleanerDeletesWhatHasExpired(t *testing.T) {
	client := fake.NewClientset(
		token("expird", map[string]string{"expiration": stamp(-time.Minute)}),
		token("endsin", map[string]string{"expiration": stamp(2 * time.Second)}),
		token("forevr", nil))
	run(t, client, NewCleaner)
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	for _, id := range []string{"expird", "endsin"} {
		until(t, "the end of "+id, func(ctx context.Context) (bool, error) {
			_, err := secrets.Get(ctx, "bootstrap-token-"+id, metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
	}
	if _, err := secrets.Get(t.Context(), "bootstrap-token-forevr", metav1.GetOptions{}); err != nil {
		t.Errorf("a token without an end: %v", err)
	}
}

func TestSignerKeepsSignatures(t *testing.T) {
	client := fake.NewClientset(token("abcdef", nil), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespacePublic, Name: "cluster-info"},
		Data:       map[string]string{"kubeconfig": "apiVersion: v1", "jws-kubeconfig-gone00": "stale", "mine": "kept"},
	})
	run(t, client, NewSigner)
	maps := client.CoreV1().ConfigMaps(metav1.NamespacePublic)
	var info *corev1.ConfigMap
	signed := func(ctx context.Context) (bool, error) {
		var err error
		info, err = maps.Get(ctx, "cluster-info", metav1.GetOptions{})
		return err == nil && jws.DetachedTokenIsValid(info.Data["jws-kubeconfig-abcdef"], info.Data["kubeconfig"], "abcdef", "0123456789abcdef"), err
	}
	until(t, "the signature", signed)
	if info.Data["jws-kubeconfig-gone00"] != "" || info.Data["mine"] != "kept" {
		t.Errorf("got %v", info.Data)
	}
	info.Data["kubeconfig"] = "apiVersion: v2"
	if _, err := maps.Update(t.Context(), info, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the signature of what has changed", signed)
	if err := client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(t.Context(), "bootstrap-token-abcdef", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the signature", func(ctx context.Context) (bool, error) {
		info, err := maps.Get(ctx, "cluster-info", metav1.GetOptions{})
		return err == nil && info.Data["jws-kubeconfig-abcdef"] == "", err
	})
}
