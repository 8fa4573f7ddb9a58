package sharing

import (
	"hash/maphash"
	"reflect"

	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// generation is how many messages are remembered before those that did not come again are forgotten.
	generation = 512
	// strangers is how many messages are recognised that came once. A message that never comes again, because it is
	// an object's own after all, costs its fingerprint.
	strangers = 4096
)

// table remembers what messages were decoded to, by their bytes.
type table[T any] struct {
	seed          maphash.Seed
	met           []uint64 // fingerprints of messages, each in the place that it leaves
	recent, older map[string]*T
}

func newTable[T any]() table[T] {
	return table[T]{seed: maphash.MakeSeed(), met: make([]uint64, strangers), recent: map[string]*T{}}
}

// find returns what the message was decoded to; nil if it is not remembered.
func (t *table[T]) find(message []byte) *T {
	if known, found := t.recent[string(message)]; found {
		return known
	}
	known, found := t.older[string(message)]
	if found {
		t.add(message, known)
	}
	return known
}

// again says whether the message came before.
func (t *table[T]) again(message []byte) bool {
	print := maphash.Bytes(t.seed, message)
	place := &t.met[print%strangers]
	if *place == print {
		return true
	}
	*place = print
	return false
}

func (t *table[T]) add(message []byte, known *T) {
	if len(t.recent) >= generation {
		t.recent, t.older = make(map[string]*T, generation), t.recent
	}
	t.recent[string(message)] = known
}

// settle makes a value fit to be part of many objects: slices have no room left, so that whoever appends to a copy moves
// elsewhere, and quantities have written down what else they would at their first use.
func settle(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		if quantity, ok := value.Interface().(*resource.Quantity); ok {
			_ = quantity.String()
			return
		}
		if !value.IsNil() {
			settle(value.Elem())
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if field := value.Field(i); field.CanSet() {
				settle(field)
			}
		}
	case reflect.Slice:
		value.SetCap(value.Len())
		for i := range value.Len() {
			settle(value.Index(i))
		}
	}
}
