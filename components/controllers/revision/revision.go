// Package revision keeps a history of an object's templates as ControllerRevisions.
// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#revision-history
package revision

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/ownership"
)

// History is the history of one kind of object.
type History struct {
	Client kubernetes.Interface
	// Cache is the indexer of the ControllerRevisions; ownership.Index must have been called for its informer.
	Cache cache.Indexer
	Kind  schema.GroupVersionKind
}

// Owner is the object whose history is kept.
type Owner struct {
	Object   metav1.Object
	Selector labels.Selector
	// TemplateLabels are set on the revisions.
	TemplateLabels map[string]string
	Collisions     *int32
	// Live reads the object from the API server.
	Live func(ctx context.Context) (metav1.Object, error)
}

// List returns the owner's revisions, the oldest first.
func (h *History) List(ctx context.Context, owner Owner) ([]*appsv1.ControllerRevision, error) {
	candidates, err := ownership.Candidates[*appsv1.ControllerRevision](h.Cache, owner.Object)
	if err != nil {
		return nil, err
	}
	claim := ownership.Claim[*appsv1.ControllerRevision]{
		Owner: owner.Object, Kind: h.Kind, Selector: owner.Selector, Live: owner.Live,
		Patch: func(ctx context.Context, r *appsv1.ControllerRevision, patch []byte) error {
			_, err := h.Client.AppsV1().ControllerRevisions(r.Namespace).Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}
	revisions, err := claim.Resolve(ctx, candidates)
	slices.SortFunc(revisions, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return revisions, err
}

// Ensure returns the revision that holds data, as the newest of the history. collided tells that a name was taken: the
// owner has to count one more collision and try again.
func (h *History) Ensure(ctx context.Context, owner Owner, history []*appsv1.ControllerRevision, data []byte) (current *appsv1.ControllerRevision, collided bool, err error) {
	next := int64(1)
	if len(history) > 0 {
		next = history[len(history)-1].Revision + 1
	}
	client := h.Client.AppsV1().ControllerRevisions(owner.Object.GetNamespace())
	for _, known := range slices.Backward(history) {
		if !bytes.Equal(known.Data.Raw, data) {
			continue
		}
		if known.Revision == next-1 {
			return known, false, nil
		}
		again := known.DeepCopy() // A rollback: what was becomes the newest.
		again.Revision = next
		again, err := client.Update(ctx, again, metav1.UpdateOptions{})
		return again, false, err
	}
	hash := Hash(data, owner.Collisions)
	created := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.Object.GetNamespace(),
			Name:            owner.Object.GetName() + "-" + hash,
			Labels:          maps.Clone(owner.TemplateLabels),
			Annotations:     maps.Clone(owner.Object.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner.Object, h.Kind)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: next,
	}
	if created.Labels == nil {
		created.Labels = map[string]string{}
	}
	created.Labels[appsv1.ControllerRevisionHashLabelKey] = hash
	current, err = client.Create(ctx, created, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return current, false, err
	}
	current, err = client.Get(ctx, created.Name, metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	if bytes.Equal(current.Data.Raw, data) && metav1.IsControlledBy(current, owner.Object) {
		return current, false, nil
	}
	return nil, true, nil
}

// Trim deletes the oldest revisions that are not live until limit of them are left.
func (h *History) Trim(ctx context.Context, history []*appsv1.ControllerRevision, live map[string]bool, limit int) error {
	var idle []*appsv1.ControllerRevision
	for _, r := range history {
		if !live[r.Name] && !live[HashOf(r)] {
			idle = append(idle, r)
		}
	}
	for i := 0; i < len(idle)-limit; i++ {
		err := h.Client.AppsV1().ControllerRevisions(idle[i].Namespace).Delete(ctx, idle[i].Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Hash names data; collisions make another name of the same data.
func Hash(data []byte, collisions *int32) string {
	hash := fnv.New32a()
	_, _ = hash.Write(data)
	if collisions != nil {
		_ = binary.Write(hash, binary.LittleEndian, *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(hash.Sum32()), 10))
}

// HashOf is the hash in a revision's label, which its pods carry too.
func HashOf(r *appsv1.ControllerRevision) string {
	return r.Labels[appsv1.ControllerRevisionHashLabelKey]
}

// TemplatePatch is a strategic merge patch that puts the template in place, which is what kubectl rollout undo applies.
func TemplatePatch(template *corev1.PodTemplateSpec) ([]byte, error) {
	encoded, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil, err
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

// Template is the template that a revision made of TemplatePatch puts in place.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
		return nil, err
	}
	return &patch.Spec.Template, nil
}
