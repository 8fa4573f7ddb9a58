// Package sharing decodes pods and nodes so that those which are alike share what is equal in them. The pods of a cluster
// come from a few templates: what tells them apart are their names and where they run. So what the API server sends of
// an object is taken apart before it is decoded, and what the object may have in common with others is looked up by its
// bytes; only what has not come before is decoded. Managed fields are left out.
//
// It is for readers that change nothing, as those of an informer must not. A shallow copy may be changed: in slices that
// are shared there is no room to append to.
package sharing

import (
	"bytes"
	"errors"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The envelope of an object in protobuf: a prefix, and a message with the object's type and its bytes.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
const (
	prefix = "k8s\x00"

	envelopeType     protowire.Number = 1
	envelopeRaw      protowire.Number = 2
	envelopeEncoding protowire.Number = 3

	typeVersion protowire.Number = 1
	typeKind    protowire.Number = 2

	eventType   protowire.Number = 1
	eventObject protowire.Number = 2
	rawBytes    protowire.Number = 1
)

// Negotiated returns what decodes pods and nodes that come in protobuf, one by one or in a watch, with equal parts
// shared, and has all else done by plain.
func Negotiated(plain runtime.NegotiatedSerializer) runtime.NegotiatedSerializer {
	n := negotiated{NegotiatedSerializer: plain}
	for _, info := range plain.SupportedMediaTypes() {
		if info.MediaType == runtime.ContentTypeProtobuf {
			info.Serializer = newDecoder(info.Serializer)
			if stream := info.StreamSerializer; stream != nil {
				info.StreamSerializer = &runtime.StreamSerializerInfo{
					EncodesAsText: stream.EncodesAsText, Serializer: frames{stream.Serializer}, Framer: stream.Framer,
				}
			}
		}
		n.types = append(n.types, info)
	}
	return n
}

type negotiated struct {
	runtime.NegotiatedSerializer
	types []runtime.SerializerInfo
}

// SupportedMediaTypes returns those of the plain serializer.
func (n negotiated) SupportedMediaTypes() []runtime.SerializerInfo { return n.types }

// decoder decodes objects.
type decoder struct {
	runtime.Serializer

	mu    sync.Mutex
	kinds map[string]object
}

func newDecoder(plain runtime.Serializer) *decoder {
	return &decoder{Serializer: plain, kinds: map[string]object{"Pod": newPods(), "Node": newNodes()}}
}

// Decode leaves to the plain serializer what it does not know, and what is wrong, for the error.
func (d *decoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if into == nil {
		if obj, gvk, err := d.shared(data); err == nil {
			return obj, gvk, nil
		}
	}
	return d.Serializer.Decode(data, defaults, into)
}

var errOther = errors.New("no object of a kind that is shared")

func (d *decoder) shared(data []byte) (runtime.Object, *schema.GroupVersionKind, error) {
	message, found := bytes.CutPrefix(data, []byte(prefix))
	if !found {
		return nil, nil, errOther
	}
	var version, kind, raw []byte
	err := each(message, func(number protowire.Number, value []byte) error {
		switch {
		case number == envelopeType:
			return each(value, func(number protowire.Number, value []byte) error {
				switch number {
				case typeVersion:
					version = value
				case typeKind:
					kind = value
				}
				return nil
			})
		case number == envelopeRaw:
			raw = value
		case number == envelopeEncoding && len(value) > 0:
			return errOther
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if string(version) != v1.SchemeGroupVersion.Version {
		return nil, nil, errOther
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.kinds[string(kind)]
	if known == nil {
		return nil, nil, errOther
	}
	obj, err := known.decode(raw)
	if err != nil {
		return nil, nil, err
	}
	gvk := v1.SchemeGroupVersion.WithKind(string(kind))
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, &gvk, nil
}

// frames decodes the events of a watch without copying the objects in them. It needs what reads a watch to decode an
// event's object before it reads on, as client-go does, whose buffer the bytes are in.
type frames struct{ runtime.Serializer }

// Decode leaves to the plain serializer what is not a watch's.
func (f frames) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	event, ok := into.(*metav1.WatchEvent)
	if !ok {
		return f.Serializer.Decode(data, defaults, into)
	}
	err := each(data, func(number protowire.Number, value []byte) error {
		switch number {
		case eventType:
			event.Type = string(value)
		case eventObject:
			return each(value, func(number protowire.Number, value []byte) error {
				if number == rawBytes {
					event.Object.Raw = value
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return f.Serializer.Decode(data, defaults, into)
	}
	gvk := v1.SchemeGroupVersion.WithKind("WatchEvent")
	return event, &gvk, nil
}
