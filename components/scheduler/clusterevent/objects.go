package clusterevent

import (
	"fmt"

	"k8s.io/client-go/tools/cache"
)

// Objects gives the two sides of an event their type. The side that the event lacks (old of an addition, new of a
// deletion) is the zero value; T is a pointer type.
func Objects[T any](older, newer any) (was, is T, err error) {
	if was, err = object[T](older); err != nil {
		return was, is, err
	}
	is, err = object[T](newer)
	return was, is, err
}

func object[T any](obj any) (typed T, err error) {
	if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	if obj == nil {
		return typed, nil
	}
	typed, ok := obj.(T)
	if !ok {
		return typed, fmt.Errorf("expected %T, but got %T", typed, obj)
	}
	return typed, nil
}
