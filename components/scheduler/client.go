package scheduler

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/plumbline/plumbline/components/scheduler/sharing"
)

const (
	userAgent = "kube-scheduler"
	// redialEvery and redialFor: while the API server refuses connections it is about to start. client-go would wait
	// 0.8 s and more before its second try.
	redialEvery = 20 * time.Millisecond
	redialFor   = 10 * time.Second
)

// connect reads the kubeconfig that path names, or the pod's service account.
func connect(path string, component *configv1.KubeSchedulerConfiguration) (*restclient.Config, error) {
	connection := component.ClientConnection
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	config.UserAgent = userAgent
	config.ContentType = connection.ContentType
	config.AcceptContentTypes = connection.AcceptContentTypes
	if config.AcceptContentTypes == "" && connection.ContentType == runtime.ContentTypeProtobuf {
		config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	config.QPS, config.Burst = connection.QPS, int(connection.Burst)
	if config.QPS == 0 {
		config.QPS = -1
	}
	config.Dial = (&redialer{}).dial
	return config, nil
}

// redialer dials until the other side accepts.
type redialer struct{ net.Dialer }

func (d *redialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, redialFor)
	defer cancel()
	for {
		conn, err := d.DialContext(ctx, network, address)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(redialEvery):
		}
	}
}

// await returns as soon as the API server lets us list nodes: it may answer before its roles are in place.
func await(ctx context.Context, client clientset.Interface) error {
	said := ""
	for {
		_, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1, ResourceVersion: "0"})
		if err == nil {
			return nil
		}
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			klog.FromContext(ctx).Info("Waiting for the API server", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(redialEvery):
		}
	}
}

// reader is a client whose pods and nodes share what is equal in them, so that they may only be read.
type reader struct {
	clientset.Interface
	core coreclient.CoreV1Interface
}

// CoreV1 returns the client of the core group.
func (r reader) CoreV1() coreclient.CoreV1Interface { return r.core }

// newReader makes a reader that has all but the core group from client, and connects as client does.
func newReader(client clientset.Interface, config *restclient.Config, connection *http.Client) (clientset.Interface, error) {
	core := restclient.CopyConfig(config)
	core.APIPath, core.GroupVersion = "/api", &v1.SchemeGroupVersion
	core.NegotiatedSerializer = sharing.Negotiated(scheme.Codecs.WithoutConversion())
	rest, err := restclient.RESTClientForConfigAndClient(core, connection)
	if err != nil {
		return nil, err
	}
	return reader{client, coreclient.New(rest)}, nil
}

// newInformers makes informers that keep no managed fields, and of pods only those that have not finished.
func newInformers(client clientset.Interface) informers.SharedInformerFactory {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip))
	unfinished := func(options *metav1.ListOptions) {
		options.FieldSelector = fields.AndSelectors(
			fields.OneTermNotEqualSelector("status.phase", string(v1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(v1.PodFailed)),
		).String()
	}
	factory.InformerFor(&v1.Pod{}, func(client clientset.Interface, resync time.Duration) cache.SharedIndexInformer {
		informer := coreinformers.NewFilteredPodInformer(client, metav1.NamespaceAll, resync,
			cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, unfinished)
		// A custom informer does not get the factory's transform. It cannot fail before the informer is started.
		_ = informer.SetTransform(strip)
		return informer
	})
	return factory
}

// strip drops what nothing in a scheduler reads.
func strip(obj any) (any, error) {
	if meta, ok := obj.(metav1.Object); ok && meta.GetManagedFields() != nil {
		meta.SetManagedFields(nil)
	}
	return obj, nil
}
