package incluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumbline/plumbline/conformance/preflight"
	"github.com/plumbline/plumbline/conformance/runner"
)

// Place is where and how a run goes on in a cluster.
type Place struct {
	Kubeconfig string
	// Image holds plumb, kubectl and the suite, of this version.
	Image   string
	Version string
	// Shards is the number of pods that share what runs side by side.
	Shards int
	// Run names the run: what an interrupted one left in the cluster is removed when it
	// goes on, another's is not.
	Run string
}

// removal is what a cluster is given to remove what was made.
const removal = 2 * time.Minute

// Take takes a run's list of behaviours through the cluster. Like runner.Run, which it
// stands in for, it returns nil when the journal settles everything.
func (p Place) Take(ctx context.Context, config runner.Config) (err error) {
	if runner.Settled(config.Items, config.Journal.Records(), config.Retries) {
		return nil
	}
	cluster, err := preflight.Connect(ctx, p.Kubeconfig)
	if err != nil {
		return err
	}
	if err := cluster.Images(ctx, []string{p.Image}); err != nil {
		return fmt.Errorf("--image: %w", err)
	}
	client, err := patientClient(p.Kubeconfig)
	if err != nil {
		return err
	}
	r := &run{Place: p, config: config, client: client}
	if err := r.clear(ctx); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
		defer cancel()
		if left := r.remove(ctx); left != nil {
			r.tell(runner.Event{Note: left.Error()}) // also where err is more telling
			err = errors.Join(err, left)
		}
	}()
	if err := r.prepare(ctx); err != nil {
		return fmt.Errorf("prepare the cluster: %w", err)
	}
	return r.rounds(ctx)
}

// patientClient makes a client whose requests take as long as they take: logs and
// watches last as long as the run.
func patientClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// run is a place with a list to take through.
type run struct {
	Place
	config runner.Config
	client kubernetes.Interface
}

// clear removes what this run left when it was interrupted.
func (r *run) clear(ctx context.Context) error {
	found, err := r.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner := found.Annotations[runAnnotation]; owner != r.Run {
		return fmt.Errorf("namespace %s exists: the run %q is in this cluster, or has left it behind; if so, remove it: kubectl delete namespace/%s clusterrolebinding/%s", namespace, owner, namespace, namespace)
	}
	ctx, cancel := context.WithTimeout(ctx, removal)
	defer cancel()
	return r.remove(ctx)
}

// prepare makes what all rounds need.
func (r *run) prepare(ctx context.Context) error {
	create := metav1.CreateOptions{}
	if _, err := r.client.CoreV1().Namespaces().Create(ctx, space(r.Run), create); err != nil {
		return err
	}
	if _, err := r.client.CoreV1().ServiceAccounts(namespace).Create(ctx, account(), create); err != nil {
		return err
	}
	_, err := r.client.RbacV1().ClusterRoleBindings().Create(ctx, binding(), create)
	return err
}

// remove removes everything that was made, and returns when it is gone.
func (r *run) remove(ctx context.Context) error {
	background := *metav1.NewDeleteOptions(0)
	err := r.client.RbacV1().ClusterRoleBindings().Delete(ctx, namespace, background)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return errors.Join(err, r.removeNamespace(ctx, background))
}

func (r *run) removeNamespace(ctx context.Context, options metav1.DeleteOptions) error {
	namespaces := r.client.CoreV1().Namespaces()
	err := namespaces.Delete(ctx, namespace, options)
	for err == nil {
		var found *corev1.Namespace
		if found, err = namespaces.Get(ctx, namespace, metav1.GetOptions{}); err == nil {
			err = r.awaitChange(ctx, found)
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("namespace %s is not removed: %w", namespace, err)
}

// awaitChange returns when a namespace is not as it was found, or may not be.
func (r *run) awaitChange(ctx context.Context, found *corev1.Namespace) error {
	events, err := r.client.CoreV1().Namespaces().Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + found.Name, ResourceVersion: found.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer events.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-events.ResultChan():
		return nil
	}
}

// rounds orders what is left, until nothing is or a round brings nothing.
func (r *run) rounds(ctx context.Context) error {
	for round := 1; ; round++ {
		o := r.next()
		if len(o.Items) == 0 {
			return nil
		}
		before := len(r.config.Journal.Records())
		err := r.round(ctx, roundName(round), o)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case len(r.config.Journal.Records()) == before && err != nil:
			return err
		case len(r.config.Journal.Records()) == before:
			return errors.New("the pods ended well and told nothing")
		case err != nil:
			r.tell(runner.Event{Note: err.Error()})
		}
	}
}

// next is the order of what may run side by side, as long as any is left, and then of
// what must run alone.
func (r *run) next() order {
	var parallel, serial []orderedItem
	records := r.config.Journal.Records()
	for _, item := range r.config.Items {
		switch {
		case runner.Settled([]runner.Item{item}, records, r.config.Retries):
		case item.Spec.Serial:
			serial = append(serial, orderedItem{item.Behaviour, item.Spec.Name})
		default:
			parallel = append(parallel, orderedItem{item.Behaviour, item.Spec.Name})
		}
	}
	o := order{Version: r.Version, Items: parallel, Shards: min(r.Shards, len(parallel)), Retries: r.config.Retries, Limits: r.config.Limits}
	if len(parallel) == 0 {
		o.Items, o.Shards = serial, 1
	}
	o.Procs = max(1, r.config.Procs/max(1, o.Shards))
	return o
}

func (r *run) tell(e runner.Event) {
	if r.config.Events != nil {
		r.config.Events(e)
	}
}
