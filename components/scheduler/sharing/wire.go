package sharing

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// fields is a set of field numbers below 64.
type fields uint64

func of(numbers ...protowire.Number) fields {
	var set fields
	for _, number := range numbers {
		set |= 1 << number
	}
	return set
}

func (f fields) has(number protowire.Number) bool { return number < 64 && f&(1<<number) != 0 }

// split appends the fields of a message to those that are its own and those that it may have in common with others.
func split(message []byte, own, dropped fields, common, rest []byte) (newCommon, newRest []byte, err error) {
	for len(message) > 0 {
		number, _, length := protowire.ConsumeField(message)
		if length < 0 {
			return common, rest, protowire.ParseError(length)
		}
		switch {
		case dropped.has(number):
		case own.has(number):
			rest = append(rest, message[:length]...)
		default:
			common = append(common, message[:length]...)
		}
		message = message[length:]
	}
	return common, rest, nil
}

var errNotEmbedded = errors.New("a field that is no text, bytes or message")

// each calls visit with the fields of a message all of which are texts, bytes or messages.
func each(message []byte, visit func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return protowire.ParseError(length)
		}
		if kind != protowire.BytesType {
			return errNotEmbedded
		}
		value, n := protowire.ConsumeBytes(message[length:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := visit(number, value); err != nil {
			return err
		}
		message = message[length+n:]
	}
	return nil
}
