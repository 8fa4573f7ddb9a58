package sharing

import "reflect"

// message is a pointer to a struct that is decoded from protobuf, on top of what it holds already.
type message[T any] interface {
	*T
	Unmarshal(data []byte) error
}

// part decodes a kind of message that objects are made of.
type part[T any, M message[T]] struct {
	// own are the fields by which objects differ, dropped those that nobody reads.
	own, dropped fields
	// ownBy decodes the own fields; nil is as a whole.
	ownBy func(fields []byte, into *T) error
	// apart decodes the other fields of what is not known to be shared; nil is as a whole.
	apart func(fields []byte, into *T) error

	known        table[T]
	common, rest []byte
}

func newPart[T any, M message[T]](own fields) *part[T, M] {
	return &part[T, M]{own: own, known: newTable[T]()}
}

// decode decodes a message into an empty struct.
func (p *part[T, M]) decode(data []byte, into *T) error {
	var err error
	if p.common, p.rest, err = split(data, p.own, p.dropped, p.common[:0], p.rest[:0]); err != nil {
		return err
	}
	if err := p.share(into); err != nil {
		return err
	}
	if p.ownBy != nil {
		return p.ownBy(p.rest, into)
	}
	return M(into).Unmarshal(p.rest)
}

// share decodes the common fields.
func (p *part[T, M]) share(into *T) error {
	if len(p.common) == 0 {
		return nil
	}
	known := p.known.find(p.common)
	if known == nil && p.known.again(p.common) {
		known = new(T)
		if err := M(known).Unmarshal(p.common); err != nil {
			return err
		}
		settle(reflect.ValueOf(known))
		p.known.add(p.common, known)
	}
	switch {
	case known != nil:
		*into = *known
		return nil
	case p.apart != nil:
		return p.apart(p.common, into)
	}
	return M(into).Unmarshal(p.common)
}
