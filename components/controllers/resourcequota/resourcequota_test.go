package resourcequota

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

var key = controller.Key{Namespace: "ns", Name: "q"}

// quotaOf limits the number of quotas, and says that so many are used.
func quotaOf(version, used string) *corev1.ResourceQuota {
	hard := corev1.ResourceList{corev1.ResourceQuotas: resource.MustParse("3")}
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "q", ResourceVersion: version},
		Spec:       corev1.ResourceQuotaSpec{Hard: hard},
		Status:     corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{corev1.ResourceQuotas: resource.MustParse(used)}},
	}
}

// controllerOver makes a controller whose cache holds one state of a quota while the API server holds another. Its
// informers do not run.
func controllerOver(t *testing.T, cached, live *corev1.ResourceQuota) (*Controller, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(live)
	env := &controller.Env{Client: client, Informers: informers.NewSharedInformerFactory(client, 0), Clock: clock.RealClock{}}
	made, err := New(env, 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := made.(*Controller)
	for _, counted := range c.counters {
		counted.synced = synced{}
	}
	if err := env.Informers.Core().V1().ResourceQuotas().Informer().GetIndexer().Add(cached); err != nil {
		t.Fatal(err)
	}
	return c, client
}

type synced struct{}

func (synced) Name() string { return "" }
func (synced) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func TestAQuotaCountsItself(t *testing.T) {
	fresh := quotaOf("1", "0")
	c, client := controllerOver(t, fresh, fresh)
	if err := c.sync(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	q, err := client.CoreV1().ResourceQuotas("ns").Get(t.Context(), "q", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if used := q.Status.Used[corev1.ResourceQuotas]; used.Value() != 1 {
		t.Errorf("the only quota of its namespace counts %s quotas", used.String())
	}
}

func TestACountAgainstAnOldStatusIsRepeated(t *testing.T) {
	c, _ := controllerOver(t, quotaOf("1", "1"), quotaOf("2", "2"))
	if err := c.sync(t.Context(), key); err == nil {
		t.Error("the count agrees with a status that is no longer there, and nobody counts again")
	}
	c, _ = controllerOver(t, quotaOf("1", "1"), quotaOf("1", "1"))
	if err := c.sync(t.Context(), key); err != nil {
		t.Errorf("the count agrees with what is there: %v", err)
	}
}
