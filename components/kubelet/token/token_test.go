package token

import (
	"errors"
	"fmt"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
)

func TestTokensAreRenewedInTime(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	client := fake.NewClientset()
	asked, refuse := 0, false
	client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if refuse {
			return true, nil, errors.New("away")
		}
		asked++
		request := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenRequest)
		if r := request.Spec.BoundObjectRef; r.Kind != "Pod" || r.Name != "p" || r.UID != "uid" {
			t.Errorf("bound to %+v", r)
		}
		request.Status = authenticationv1.TokenRequestStatus{Token: fmt.Sprint(asked), ExpirationTimestamp: metav1.NewTime(now.Add(time.Hour))}
		return true, request, nil
	})
	s := NewSource(client)
	s.now = func() time.Time { return now }
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid"}, Spec: v1.PodSpec{ServiceAccountName: "sa"}}
	projection := &v1.ServiceAccountTokenProjection{ExpirationSeconds: ptr.To[int64](3600)}
	get := func(want string) time.Time {
		t.Helper()
		token, renewAt, err := s.Get(t.Context(), pod, projection)
		if err != nil || token != want {
			t.Fatalf("token %q, %v; want %q", token, err, want)
		}
		return renewAt
	}

	renewAt := get("1")
	if life := renewAt.Sub(now); life < 45*time.Minute || life > 48*time.Minute {
		t.Errorf("a token for an hour is renewed after %v, want a little less than 48 minutes", life)
	}
	now = renewAt.Add(-time.Second)
	get("1")
	now = renewAt
	get("2")
	now = now.Add(time.Hour)
	refuse = true
	// The API server may be away for a while: what there is, is better than nothing.
	get("2")
	refuse = false
	get("3")
	s.Forget("uid")
	get("4")

	other := &v1.ServiceAccountTokenProjection{ExpirationSeconds: ptr.To[int64](3600), Audience: "vault"}
	if token, _, err := s.Get(t.Context(), pod, other); err != nil || token != "5" {
		t.Errorf("for another audience: token %q, %v; want one of its own", token, err)
	}
}
