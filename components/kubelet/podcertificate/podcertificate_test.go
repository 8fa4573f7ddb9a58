package podcertificate

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// rig is an issuer with a signer that answers as told.
type rig struct {
	*Issuer
	ctx    context.Context
	client *fake.Clientset
	pod    *v1.Pod
	events []string
	// answer is written into every request as it is made; nil leaves them open.
	answer func(*certificatesv1.PodCertificateRequest)
	asked  int
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newRig(t *testing.T) *rig {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	r := &rig{ctx: ctx, pod: &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid"}, Spec: v1.PodSpec{ServiceAccountName: "sa"}}}
	r.client = fake.NewClientset(&v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa", UID: "sa-uid"}})
	r.client.PrependReactor("create", "podcertificaterequests", func(a clienttesting.Action) (bool, runtime.Object, error) {
		request := a.(clienttesting.CreateAction).GetObject().(*certificatesv1.PodCertificateRequest)
		r.asked++
		request.Name = request.GenerateName + string(rune('0'+r.asked))
		if r.answer != nil {
			r.answer(request)
		}
		return false, nil, nil
	})
	r.Issuer = New(ctx, Config{
		Client: r.client, Node: func() *v1.Node { return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n-uid"}} },
		Changed: func(types.UID) {}, Event: func(_ *v1.Pod, _, reason, message string) { r.events = append(r.events, reason+": "+message) },
	})
	return r
}

func (r *rig) get() (Bundle, error) {
	return r.Get(r.ctx, r.pod, "v", 0, &v1.PodCertificateProjection{SignerName: "test/signer", KeyType: "ECDSAP256"})
}

func issue(chain string) func(*certificatesv1.PodCertificateRequest) {
	return func(request *certificatesv1.PodCertificateRequest) {
		refresh, end := metav1.NewTime(noon.Add(time.Hour)), metav1.NewTime(noon.Add(2*time.Hour))
		request.Status = certificatesv1.PodCertificateRequestStatus{
			Conditions:       []metav1.Condition{{Type: certificatesv1.PodCertificateRequestConditionTypeIssued, Status: metav1.ConditionTrue}},
			CertificateChain: "noise\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(chain)})),
			BeginRefreshAt:   &refresh, NotAfter: &end,
		}
	}
}

func TestIssuedAndRenewed(t *testing.T) {
	r := newRig(t)
	r.now = func() time.Time { return noon }
	r.answer = issue("first")
	first, err := r.get()
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(first.Key)
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil || len(rest) > 0 {
		t.Errorf("the key does not parse: %v", err)
	}
	if bytes.Contains(first.Chain, []byte("noise")) || !bytes.HasPrefix(first.Chain, []byte("-----BEGIN CERTIFICATE")) {
		t.Errorf("chain %s", first.Chain)
	}
	if early, late := noon.Add(time.Hour), noon.Add(time.Hour+spread); first.RenewAt.Before(early) || first.RenewAt.After(late) {
		t.Errorf("renewed at %v, want from %v to %v", first.RenewAt, early, late)
	}
	if same, _ := r.get(); !bytes.Equal(same.Key, first.Key) || r.asked != 1 {
		t.Errorf("asked %d times before the time came", r.asked)
	}

	// When its time has come, what there is stays until the next is issued.
	r.now = func() time.Time { return noon.Add(2*time.Hour + time.Minute) }
	r.answer = nil
	kept, err := r.get()
	if err != nil || !bytes.Equal(kept.Key, first.Key) || r.asked != 2 {
		t.Fatalf("asked %d times, error %v; want the old key while the second request is open", r.asked, err)
	}
	if len(r.events) != 2 || !strings.HasPrefix(r.events[0], "CertificateOverdueForRefresh") || !strings.HasPrefix(r.events[1], "CertificateExpired") {
		t.Errorf("events %q", r.events)
	}
	open, err := r.client.CertificatesV1().PodCertificateRequests("ns").Get(r.ctx, "req-2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	issue("second")(open)
	news := r.news
	if _, err := r.client.CertificatesV1().PodCertificateRequests("ns").UpdateStatus(r.ctx, open, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	<-news
	r.now = func() time.Time { return noon }
	if second, err := r.get(); err != nil || bytes.Equal(second.Key, first.Key) || bytes.Equal(second.Chain, first.Chain) {
		t.Errorf("the renewed certificate was not taken over: %v", err)
	}
}

func TestDeniedForGood(t *testing.T) {
	r := newRig(t)
	r.answer = func(request *certificatesv1.PodCertificateRequest) {
		request.Status.Conditions = []metav1.Condition{{
			Type: certificatesv1.PodCertificateRequestConditionTypeDenied, Status: metav1.ConditionTrue, Reason: "NotYou", Message: "no",
		}}
	}
	const want = `PodCertificateRequest was permanently denied: reason="NotYou" message="no"`
	for range 2 {
		if _, err := r.get(); err == nil || err.Error() != want {
			t.Fatalf("got %v, want %s", err, want)
		}
	}
	if r.asked != 1 || len(r.events) != 1 {
		t.Errorf("asked %d times, events %q; want one of each", r.asked, r.events)
	}
}

func TestUnansweredIsSaid(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(r.ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := r.Get(ctx, r.pod, "v", 0, &v1.PodCertificateProjection{SignerName: "test/signer", KeyType: "ED25519"}); !errors.Is(err, errWaiting) {
		t.Errorf("got %v, want %v", err, errWaiting)
	}
	if _, err := r.Get(r.ctx, r.pod, "v", 1, &v1.PodCertificateProjection{KeyType: "DSA"}); err == nil || !strings.Contains(err.Error(), `unknown key type "DSA"`) {
		t.Errorf("got %v", err)
	}
}
