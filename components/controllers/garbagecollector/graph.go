package garbagecollector

import (
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// identity is what an object is called. Of an object known only from owner references, Namespace is that of the object
// that refers to it, whether or not its kind is namespaced.
type identity struct {
	APIVersion, Kind, Namespace, Name string
	UID                               types.UID
}

func (i identity) String() string {
	return fmt.Sprintf("[%s/%s, namespace: %s, name: %s, uid: %s]", i.APIVersion, i.Kind, i.Namespace, i.Name, i.UID)
}

func ownerIdentity(ref metav1.OwnerReference, namespace string) identity {
	return identity{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: namespace, Name: ref.Name, UID: ref.UID}
}

// denotes tells whether a reference from an object in namespace means this object, rather than one of the same UID.
func (i identity) denotes(ref metav1.OwnerReference, namespace string) bool {
	return i.UID == ref.UID && i.APIVersion == ref.APIVersion && i.Kind == ref.Kind && i.Name == ref.Name &&
		(i.Namespace == "" || i.Namespace == namespace)
}

// node is one object of the graph.
type node struct {
	id     identity
	owners []metav1.OwnerReference
	// dependents are the objects that refer to this one.
	dependents map[*node]bool
	// virtual: no informer has shown the object; it is known from references to it.
	virtual bool
	// tried are the names under which a virtual object was looked for in vain.
	tried map[identity]bool
	// deleted: it has a deletion timestamp.
	deleted bool
	// foreground: it is being deleted and waits for its dependents.
	foreground bool
	// orphaning: it is being deleted and waits for its dependents to be let go.
	orphaning bool
}

// observation is what an informer shows of an object.
type observation struct {
	id         identity
	owners     []metav1.OwnerReference
	deleted    bool
	finalizers []string
}

func observe(object metav1.Object, apiVersion, kind string) observation {
	return observation{
		id:         identity{APIVersion: apiVersion, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID()},
		owners:     object.GetOwnerReferences(),
		deleted:    object.GetDeletionTimestamp() != nil,
		finalizers: object.GetFinalizers(),
	}
}

func (o observation) waitsFor(finalizer string) bool {
	return o.deleted && slices.Contains(o.finalizers, finalizer)
}

// work is what a change of the graph calls for: objects to judge, owners whose dependents to let go, and references
// into another namespace to complain about.
type work struct {
	judge   []types.UID
	orphan  []types.UID
	invalid []invalidReference
}

type invalidReference struct {
	dependent identity
	owner     identity
}

func (w *work) add(nodes ...*node) {
	for _, n := range nodes {
		w.judge = append(w.judge, n.id.UID)
	}
}

// graph is who refers to whom. Its methods may be called from any goroutine.
type graph struct {
	mu    sync.Mutex
	nodes map[types.UID]*node
}

func newGraph() *graph { return &graph{nodes: map[types.UID]*node{}} }

// put takes in what an informer shows.
func (g *graph) put(o observation) work {
	g.mu.Lock()
	defer g.mu.Unlock()
	var todo work
	n := g.nodes[o.id.UID]
	if n == nil {
		n = &node{id: o.id, dependents: map[*node]bool{}}
		g.nodes[o.id.UID] = n
	}
	if n.virtual {
		// Now it is known what it really is. Whoever meant something else has to be judged again.
		n.virtual, n.tried = false, nil
		n.id = o.id
		for dependent := range n.dependents {
			g.check(dependent, n, &todo)
		}
	}
	n.id = o.id
	if g.refer(n, o.owners, &todo) && !n.deleted {
		todo.add(n)
	}
	wasForeground, wasOrphaning := n.foreground, n.orphaning
	n.deleted = o.deleted
	n.foreground = o.waitsFor(metav1.FinalizerDeleteDependents)
	n.orphaning = o.waitsFor(metav1.FinalizerOrphanDependents)
	if n.orphaning && !wasOrphaning {
		todo.orphan = append(todo.orphan, o.id.UID)
	}
	if n.foreground && !wasForeground {
		for dependent := range n.dependents {
			todo.add(dependent)
		}
		todo.add(n)
		// It may itself be what its owner waits for.
	}
	return todo
}

// refer makes owners the references of n. It returns whether n has to be judged for references that it no longer has
// or that cannot be right.
func (g *graph) refer(n *node, owners []metav1.OwnerReference, todo *work) bool {
	before := n.owners
	n.owners = slices.Clone(owners)
	judge := len(before) > len(owners)
	for _, ref := range before {
		still := slices.IndexFunc(owners, func(now metav1.OwnerReference) bool { return now.UID == ref.UID })
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		if still < 0 {
			delete(owner.dependents, n)
			judge = true
			g.dropUnreferenced(owner)
		}
		released := still < 0 || !blocks(owners[max(still, 0)])
		if owner.foreground && blocks(ref) && released {
			todo.add(owner)
		}
	}
	for _, ref := range owners {
		owner := g.nodes[ref.UID]
		if owner == nil {
			owner = &node{id: ownerIdentity(ref, n.id.Namespace), dependents: map[*node]bool{}, virtual: true}
			g.nodes[ref.UID] = owner
			todo.add(owner)
		}
		if !owner.dependents[n] {
			owner.dependents[n] = true
			g.check(n, owner, todo)
		}
	}
	return judge
}

// check has n judged if its reference to owner does not mean what owner is, or if owner is being deleted.
func (g *graph) check(n, owner *node, todo *work) {
	i := slices.IndexFunc(n.owners, func(ref metav1.OwnerReference) bool { return ref.UID == owner.id.UID })
	if i < 0 {
		return
	}
	ref := n.owners[i]
	if !owner.id.denotes(ref, n.id.Namespace) {
		if !owner.virtual && owner.id.Namespace != "" && owner.id.Namespace != n.id.Namespace {
			todo.invalid = append(todo.invalid, invalidReference{dependent: n.id, owner: ownerIdentity(ref, n.id.Namespace)})
		}
		todo.add(n)
		return
	}
	if owner.foreground {
		todo.add(n)
	}
}

// dropUnreferenced forgets an object that nothing refers to any more and that no informer has shown.
func (g *graph) dropUnreferenced(n *node) {
	if n.virtual && len(n.dependents) == 0 {
		delete(g.nodes, n.id.UID)
	}
}

// remove takes an object out: its dependents, and owners that wait for it, have to be judged.
func (g *graph) remove(uid types.UID) work {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.removeLocked(uid)
}

func (g *graph) removeLocked(uid types.UID) work {
	var todo work
	n := g.nodes[uid]
	if n == nil {
		return todo
	}
	delete(g.nodes, uid)
	for _, ref := range n.owners {
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		delete(owner.dependents, n)
		if owner.foreground {
			todo.add(owner)
		}
		g.dropUnreferenced(owner)
	}
	for dependent := range n.dependents {
		todo.add(dependent)
	}
	return todo
}

// absent takes in that the API server has no object of this identity. An object that is only referred to may be called
// something else by another of its dependents: then that is what is looked for next.
func (g *graph) absent(id identity) work {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[id.UID]
	if n == nil {
		return work{}
	}
	if !n.virtual {
		if n.id != id {
			return work{}
		}
		return g.removeLocked(id.UID)
	}
	if n.id != id {
		return work{} // It is being looked for under another name meanwhile.
	}
	var todo work
	if n.tried == nil {
		n.tried = map[identity]bool{}
	}
	n.tried[id] = true
	for dependent := range n.dependents {
		for _, ref := range dependent.owners {
			if called := ownerIdentity(ref, dependent.id.Namespace); ref.UID == id.UID && !n.tried[called] {
				n.id = called
			}
		}
		todo.add(dependent)
	}
	if n.id != id {
		todo.add(n)
	} else {
		n.tried = nil
	}
	return todo
}

// view is a copy of what the graph knows about one object.
type view struct {
	id         identity
	virtual    bool
	deleted    bool
	foreground bool
	orphaning  bool
	dependents []dependentView
}

// dependentView is a copy of what the graph knows about a dependent in relation to its owner.
type dependentView struct {
	id identity
	// blocks: its owner's foreground deletion waits for it.
	blocks     bool
	foreground bool
}

// look returns what the graph knows, ok is false if it knows nothing.
func (g *graph) look(uid types.UID) (v view, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return view{}, false
	}
	v = view{id: n.id, virtual: n.virtual, deleted: n.deleted, foreground: n.foreground, orphaning: n.orphaning}
	for dependent := range n.dependents {
		seen := dependentView{id: dependent.id, foreground: dependent.foreground}
		for _, ref := range dependent.owners {
			if ref.UID == uid {
				seen.blocks = blocks(ref)
			}
		}
		v.dependents = append(v.dependents, seen)
	}
	return v, true
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// absence remembers for a while which owners are known not to exist, so that a thousand dependents of one owner ask once.
type absence struct {
	mu    sync.Mutex
	since map[identity]time.Time
}

const (
	absenceLife = 30 * time.Second
	absenceSize = 500
)

func (a *absence) add(id identity, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.since) >= absenceSize {
		clear(a.since)
	}
	a.since[id] = now
}

func (a *absence) has(id identity, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	since, ok := a.since[id]
	return ok && now.Sub(since) < absenceLife
}
