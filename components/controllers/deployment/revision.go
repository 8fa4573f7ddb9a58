package deployment

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredReplicasAnnotation = "deployment.kubernetes.io/desired-replicas"
	maxReplicasAnnotation     = "deployment.kubernetes.io/max-replicas"
)

// private tells whether an annotation of a Deployment's is not for its sets.
func private(annotation string) bool {
	switch annotation {
	case corev1.LastAppliedConfigAnnotation, revisionAnnotation, revisionHistoryAnnotation,
		desiredReplicasAnnotation, maxReplicasAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return false
}

// templateHash names a template; collisions make another name of the same template.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	encoded, err := json.Marshal(template)
	if err != nil {
		return "", err
	}
	hash := fnv.New32a()
	_, _ = hash.Write(encoded)
	if collisions != nil {
		_ = binary.Write(hash, binary.LittleEndian, *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(hash.Sum32()), 10)), nil
}

// sameTemplate compares templates but for the label that holds their hash.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

// split returns the set of the current template, nil if there is none yet, and the others. Of several sets of one
// template (they can be adopted), the oldest is it.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (fresh *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	for _, set := range slices.SortedFunc(slices.Values(sets), olderFirst) {
		if fresh == nil && sameTemplate(&set.Spec.Template, &d.Spec.Template) {
			fresh = set
		} else {
			old = append(old, set)
		}
	}
	return fresh, old
}

func revision(object metav1.Object) int64 {
	value, err := strconv.ParseInt(object.GetAnnotations()[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return value
}

// annotate gives set the Deployment's annotations and the revision, and remembers the revisions that it had before (it
// gets a new one when a rollback makes it current again). It returns whether anything changed.
func annotate(set *appsv1.ReplicaSet, d *appsv1.Deployment, newest int64, existed bool) bool {
	before := maps.Clone(set.Annotations)
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	for name, value := range d.Annotations {
		if !private(name) {
			set.Annotations[name] = value
		}
	}
	if had := revision(set); had < newest {
		set.Annotations[revisionAnnotation] = strconv.FormatInt(newest, 10)
		if existed && had > 0 {
			history := set.Annotations[revisionHistoryAnnotation]
			set.Annotations[revisionHistoryAnnotation] = appendRevision(history, strconv.FormatInt(had, 10))
		}
	}
	if !existed {
		annotateSize(set, d)
	}
	return !maps.Equal(before, set.Annotations)
}

// appendRevision keeps the history to what an annotation may reasonably hold.
func appendRevision(history, had string) string {
	const longest = 2000
	revisions := []string{}
	if history != "" {
		revisions = strings.Split(history, ",")
	}
	revisions = append(revisions, had)
	joined := strings.Join(revisions, ",")
	for len(joined) > longest && len(revisions) > 1 {
		revisions = revisions[1:]
		joined = strings.Join(revisions, ",")
	}
	return joined
}

// annotateSize remembers on set the Deployment's size, which proportional scaling starts from.
func annotateSize(set *appsv1.ReplicaSet, d *appsv1.Deployment) bool {
	surge, _ := bounds(d)
	changed := false
	for name, value := range map[string]int32{desiredReplicasAnnotation: desired(d), maxReplicasAnnotation: desired(d) + surge} {
		text := strconv.FormatInt(int64(value), 10)
		if set.Annotations[name] != text {
			if set.Annotations == nil {
				set.Annotations = map[string]string{}
			}
			set.Annotations[name] = text
			changed = true
		}
	}
	return changed
}

// prepare finds or (if create is set) creates the new set, gives it the next revision and the Deployment the same.
func (r *rollout) prepare(ctx context.Context, create bool) error {
	r.fresh, r.old = split(r.d, r.sets)
	var newest int64
	for _, set := range r.old {
		newest = max(newest, revision(set))
	}
	newest++
	switch {
	case r.fresh != nil:
		return r.refresh(ctx, newest)
	case create:
		return r.create(ctx, newest)
	}
	return nil
}

func (r *rollout) refresh(ctx context.Context, newest int64) error {
	updated := r.fresh.DeepCopy()
	changed := annotate(updated, r.d, newest, true)
	if changed || updated.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		updated.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		set, err := r.c.env.Client.AppsV1().ReplicaSets(updated.Namespace).Update(ctx, updated, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		r.replace(r.fresh, set)
	}
	write := r.takeRevision()
	if hasDeadline(r.d) && condition(&r.d.Status, appsv1.DeploymentProgressing) == nil {
		setCondition(&r.d.Status, r.progressing(corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", r.fresh.Name)))
		write = true
	}
	if write {
		return r.writeDeployment(ctx)
	}
	return nil
}

func (r *rollout) create(ctx context.Context, newest int64) error {
	hash, err := templateHash(&r.d.Spec.Template, r.d.Status.CollisionCount)
	if err != nil {
		return err
	}
	template := *r.d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := r.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       r.d.Namespace,
			Name:            r.d.Name + "-" + hash,
			Labels:          template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        ptr.To(newSize(r.d, nil, r.old)),
			MinReadySeconds: r.d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        template,
		},
	}
	annotate(set, r.d, newest, false)
	created, err := r.c.env.Client.AppsV1().ReplicaSets(set.Namespace).Create(ctx, set, metav1.CreateOptions{})
	existed := apierrors.IsAlreadyExists(err)
	if existed {
		created, err = r.takeExisting(ctx, set.Name)
	}
	if err != nil {
		return r.creationFailed(ctx, set.Name, err)
	}
	r.fresh = created
	r.sets = append(r.sets, created)
	if !existed && size(created) > 0 {
		r.c.env.Recorder.Eventf(r.d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", created.Name, size(created))
	}
	write := r.takeRevision()
	if !existed && hasDeadline(r.d) {
		setCondition(&r.d.Status, r.progressing(corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", created.Name)))
		write = true
	}
	if write {
		return r.writeDeployment(ctx)
	}
	return nil
}

func withHash(set map[string]string, hash string) map[string]string {
	set = maps.Clone(set)
	if set == nil {
		set = map[string]string{}
	}
	set[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return set
}

// takeExisting returns the set that has the name already if it is the one meant (the cache was behind); if not, the
// next attempt will use another name.
func (r *rollout) takeExisting(ctx context.Context, name string) (*appsv1.ReplicaSet, error) {
	existing, err := r.c.env.Client.AppsV1().ReplicaSets(r.d.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if metav1.IsControlledBy(existing, r.d) && sameTemplate(&existing.Spec.Template, &r.d.Spec.Template) {
		return existing, nil
	}
	r.d.Status.CollisionCount = ptr.To(ptr.Deref(r.d.Status.CollisionCount, 0) + 1)
	if err := r.writeDeployment(ctx); err != nil {
		return nil, err
	}
	return nil, errCollision
}

func (r *rollout) creationFailed(ctx context.Context, name string, cause error) error {
	if errors.Is(cause, errCollision) || apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause) {
		return cause
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", name, cause)
	if hasDeadline(r.d) {
		setCondition(&r.d.Status, r.progressing(corev1.ConditionFalse, reasonCreateFailed, message))
		_ = r.writeDeployment(ctx) // The cause is what matters; the next attempt writes again.
	}
	r.c.env.Recorder.Eventf(r.d, corev1.EventTypeWarning, reasonCreateFailed, "%s", message)
	return cause
}

// takeRevision gives the Deployment the new set's revision.
func (r *rollout) takeRevision() bool {
	value := r.fresh.Annotations[revisionAnnotation]
	if r.d.Annotations[revisionAnnotation] == value {
		return false
	}
	if r.d.Annotations == nil {
		r.d.Annotations = map[string]string{}
	}
	r.d.Annotations[revisionAnnotation] = value
	return true
}
