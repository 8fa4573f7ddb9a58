package core

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ComponentStatuses tell how the control plane's other parts are, those that run beside
// this API server. Deprecated since v1.19 and still asked for by "kubectl get cs".
func ComponentStatuses() *resource.Virtual {
	id := clusterWide("ComponentStatus", "componentstatuses", "componentstatus", "cs")
	return &resource.Virtual{
		Identity: id,
		AddToScheme: func(scheme *runtime.Scheme) error {
			scheme.AddKnownTypes(corev1.SchemeGroupVersion, new(corev1.ComponentStatusList))
			return resource.RegisterHub(scheme, "", "ComponentStatusList", new(corev1.ComponentStatusList))
		},
		New: func() runtime.Object { return new(corev1.ComponentStatus) },
		Serve: func(env *resource.Env) (rest.Storage, error) {
			return componentStatuses{probes: []componentProbe{
				{"scheduler", probeURL("https://127.0.0.1:10259/healthz")},
				{"controller-manager", probeURL("https://127.0.0.1:10257/healthz")},
				{"etcd-0", func(ctx context.Context) (string, error) {
					// The server asks etcd itself; its own check passes the answer on.
					answer, err := env.Loopback.Discovery().RESTClient().Get().AbsPath("/livez/etcd").DoRaw(ctx)
					return string(answer), err
				}},
			}}, nil
		},
	}
}

type componentProbe struct {
	name string
	ask  func(context.Context) (string, error)
}

func probeURL(url string) func(context.Context) (string, error) {
	// The parts have certificates that they signed themselves.
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // loopback, and nothing secret is said
	}}
	return func(ctx context.Context) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, 10<<10))
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("unhealthy http status code received: %s", response.Status)
		}
		return string(answer), err
	}
}

// componentStatuses asks each part when it is asked itself.
type componentStatuses struct{ probes []componentProbe }

var (
	_ rest.Lister               = componentStatuses{}
	_ rest.Getter               = componentStatuses{}
	_ rest.ShortNamesProvider   = componentStatuses{}
	_ rest.SingularNameProvider = componentStatuses{}
)

func (componentStatuses) New() runtime.Object     { return new(corev1.ComponentStatus) }
func (componentStatuses) NewList() runtime.Object { return new(corev1.ComponentStatusList) }
func (componentStatuses) Destroy()                {}
func (componentStatuses) NamespaceScoped() bool   { return false }

// ShortNames are what kubectl accepts beside the plural.
func (componentStatuses) ShortNames() []string { return []string{"cs"} }

// GetSingularName is the name of one.
func (componentStatuses) GetSingularName() string { return "componentstatus" }

func (p componentProbe) status(ctx context.Context) corev1.ComponentStatus {
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue}
	answer, err := p.ask(ctx)
	condition.Message = answer
	if err != nil {
		condition.Status, condition.Message, condition.Error = corev1.ConditionFalse, err.Error(), answer
	}
	return corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: p.name}, Conditions: []corev1.ComponentCondition{condition}}
}

// Get asks one part.
func (s componentStatuses) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	for _, p := range s.probes {
		if p.name == name {
			status := p.status(ctx)
			return &status, nil
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("componentstatus"), name)
}

// List asks all parts at once.
func (s componentStatuses) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	answers := make([]chan corev1.ComponentStatus, len(s.probes))
	for i, p := range s.probes {
		answers[i] = make(chan corev1.ComponentStatus, 1)
		go func() { answers[i] <- p.status(ctx) }()
	}
	list := &corev1.ComponentStatusList{Items: []corev1.ComponentStatus{}}
	for _, answer := range answers {
		status := <-answer
		if options != nil && options.LabelSelector != nil && !options.LabelSelector.Matches(labels.Set(status.Labels)) ||
			options != nil && options.FieldSelector != nil && !options.FieldSelector.Matches(fields.Set{"metadata.name": status.Name}) {
			continue
		}
		list.Items = append(list.Items, status)
	}
	return list, nil
}

// ConvertToTable prints statuses.
func (componentStatuses) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		table.Name(), table.String("Status", "Status of the component conditions"),
		table.String("Message", "Message of the component conditions"), table.String("Error", "Error of the component conditions"),
	}}
	add := func(obj runtime.Object) error {
		s := obj.(*corev1.ComponentStatus)
		status, message, failure := "Unknown", "", ""
		for _, c := range s.Conditions {
			if c.Type == corev1.ComponentHealthy {
				status, message, failure = "Healthy", c.Message, c.Error
				if c.Status != corev1.ConditionTrue {
					status = "Unhealthy"
				}
			}
		}
		out.Rows = append(out.Rows, metav1.TableRow{Cells: []any{s.Name, status, message, failure}, Object: runtime.RawExtension{Object: obj}})
		return nil
	}
	if meta.IsListType(object) {
		return out, meta.EachListItem(object, add)
	}
	return out, add(object)
}
