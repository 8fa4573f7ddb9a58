package certificates

import (
	"context"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestOldPodRequestsAreSwept(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	made := func(name string, age time.Duration) *certificatesv1.PodCertificateRequest {
		return &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "u", CreationTimestamp: metav1.NewTime(now.Add(-age))}}
	}
	client := fake.NewClientset(made("old", 31*time.Minute), made("young", 29*time.Minute))
	if err := sweepPodRequests(ctx, client, now.Add(-podRequestKept)); err != nil {
		t.Fatal(err)
	}
	left, err := client.CertificatesV1().PodCertificateRequests("").List(ctx, metav1.ListOptions{})
	if err != nil || len(left.Items) != 1 || left.Items[0].Name != "young" {
		t.Errorf("left %v, %v; want only young", left.Items, err)
	}
}
