package garbagecollector

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func id(namespace, name string) identity {
	return identity{APIVersion: "v1", Kind: "Thing", Namespace: namespace, Name: name, UID: types.UID(name)}
}

func ownedBy(names ...string) []metav1.OwnerReference {
	var refs []metav1.OwnerReference
	for _, name := range names {
		refs = append(refs, metav1.OwnerReference{APIVersion: "v1", Kind: "Thing", Name: name, UID: types.UID(name)})
	}
	return refs
}

func blocking(name string) []metav1.OwnerReference {
	refs := ownedBy(name)
	refs[0].BlockOwnerDeletion = ptr.To(true)
	return refs
}

func expect(t *testing.T, what string, got []types.UID, want ...types.UID) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestOwnerGoes(t *testing.T) {
	g := newGraph()
	g.put(observation{id: id("ns", "owner")})
	expect(t, "a dependent of a known owner", g.put(observation{id: id("ns", "a"), owners: ownedBy("owner")}).judge)
	g.put(observation{id: id("ns", "b"), owners: ownedBy("owner")})
	expect(t, "the owner's deletion", g.remove("owner").judge, "a", "b")
}

func TestOwnerThatNobodyHasSeen(t *testing.T) {
	g := newGraph()
	expect(t, "an unknown owner is looked for", g.put(observation{id: id("ns", "a"), owners: ownedBy("ghost")}).judge, "ghost")
	seen, ok := g.look("ghost")
	if !ok || !seen.virtual || seen.id != id("ns", "ghost") {
		t.Fatalf("got %+v, %v", seen, ok)
	}
	expect(t, "it is not there", g.absent(seen.id).judge, "a")
	g.remove("a")
	if _, ok := g.look("ghost"); ok {
		t.Error("what nothing refers to any more is remembered")
	}
}

func TestOwnerInAnotherNamespace(t *testing.T) {
	g := newGraph()
	g.put(observation{id: id("here", "owner")})
	todo := g.put(observation{id: id("there", "a"), owners: ownedBy("owner")})
	expect(t, "the reference cannot be right", todo.judge, "a")
	if len(todo.invalid) != 1 || todo.invalid[0].dependent != id("there", "a") || todo.invalid[0].owner != id("there", "owner") {
		t.Errorf("complaints: %+v", todo.invalid)
	}
	// The other way round: the reference is seen before its owner.
	g = newGraph()
	g.put(observation{id: id("there", "a"), owners: ownedBy("owner")})
	g.put(observation{id: id("here", "b"), owners: ownedBy("owner")})
	todo = g.put(observation{id: id("here", "owner")})
	expect(t, "only the one in another namespace", todo.judge, "a")
	if len(todo.invalid) != 1 {
		t.Errorf("complaints: %+v", todo.invalid)
	}
}

func TestUnseenOwnerUnderSeveralNames(t *testing.T) {
	g := newGraph()
	g.put(observation{id: id("ns", "a"), owners: ownedBy("owner")})
	wrong := ownedBy("owner")
	wrong[0].Name = "another"
	g.put(observation{id: id("ns", "b"), owners: wrong})
	seen, _ := g.look("owner")
	tried := map[identity]bool{}
	for range 2 {
		tried[seen.id] = true
		todo := g.absent(seen.id)
		if !slices.Contains(todo.judge, "a") || !slices.Contains(todo.judge, "b") {
			t.Fatalf("dependents are not judged: %v", todo.judge)
		}
		seen, _ = g.look("owner")
	}
	if len(tried) != 2 {
		t.Errorf("looked under %v", tried)
	}
}

func TestClusterWideOwner(t *testing.T) {
	g := newGraph()
	g.put(observation{id: id("", "node")})
	todo := g.put(observation{id: id("ns", "a"), owners: ownedBy("node")})
	expect(t, "a cluster-wide owner fits any namespace", todo.judge)
}

func TestForeground(t *testing.T) {
	g := newGraph()
	g.put(observation{id: id("ns", "owner")})
	g.put(observation{id: id("ns", "blocks"), owners: blocking("owner")})
	g.put(observation{id: id("ns", "loose"), owners: ownedBy("owner")})
	going := observation{id: id("ns", "owner"), deleted: true, finalizers: []string{metav1.FinalizerDeleteDependents}}
	expect(t, "foreground deletion starts", g.put(going).judge, "owner", "blocks", "loose")
	expect(t, "a dependent that appears late", g.put(observation{id: id("ns", "late"), owners: blocking("owner")}).judge, "late")
	seen, _ := g.look("owner")
	holding := 0
	for _, dependent := range seen.dependents {
		if dependent.blocks {
			holding++
		}
	}
	if !seen.foreground || len(seen.dependents) != 3 || holding != 2 {
		t.Errorf("got %+v", seen)
	}
	expect(t, "a dependent stops blocking", g.put(observation{id: id("ns", "late"), owners: ownedBy("owner")}).judge, "owner")
	expect(t, "a blocking dependent is gone", g.remove("blocks").judge, "owner")
}

func TestOrphaning(t *testing.T) {
	g := newGraph()
	g.put(observation{id: id("ns", "owner")})
	g.put(observation{id: id("ns", "a"), owners: ownedBy("owner", "second")})
	todo := g.put(observation{id: id("ns", "owner"), deleted: true, finalizers: []string{metav1.FinalizerOrphanDependents}})
	expect(t, "orphaning starts", todo.orphan, "owner")
	expect(t, "and nothing is judged", todo.judge)
	expect(t, "let go: judged by the rest of its owners", g.put(observation{id: id("ns", "a"), owners: ownedBy("second")}).judge, "a")
	expect(t, "the owner's end concerns nobody", g.remove("owner").judge)
}

func TestCircle(t *testing.T) {
	g := newGraph()
	g.put(observation{id: id("ns", "a"), owners: blocking("b")})
	g.put(observation{id: id("ns", "b"), owners: blocking("a")})
	going := observation{id: id("ns", "a"), owners: blocking("b"), deleted: true, finalizers: []string{metav1.FinalizerDeleteDependents}}
	expect(t, "both are judged", g.put(going).judge, "a", "b")
	seen, _ := g.look("b")
	if len(seen.dependents) != 1 || !seen.dependents[0].foreground {
		t.Errorf("b does not see that its dependent waits for it: %+v", seen)
	}
}
