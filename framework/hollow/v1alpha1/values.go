package v1alpha1

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Values are one or more values; one is written without a list.
type Values []string

// UnmarshalJSON implements json.Unmarshaler.
func (v *Values) UnmarshalJSON(data []byte) error {
	var one string
	if err := json.Unmarshal(data, &one); err == nil {
		*v = Values{one}
		return nil
	}
	var several []string
	if err := json.Unmarshal(data, &several); err != nil {
		return fmt.Errorf("%s must be a string or a list of strings", data)
	}
	*v = several
	return nil
}

// MarshalJSON implements json.Marshaler.
func (v Values) MarshalJSON() ([]byte, error) {
	if len(v) == 1 {
		return json.Marshal(v[0])
	}
	return json.Marshal([]string(v))
}

// Span is a length of time, or the bounds of one that is drawn: "2s", "1s..5s".
type Span struct{ From, To time.Duration }

// Lasting is a span that is always as long.
func Lasting(d time.Duration) Span { return Span{From: d, To: d} }

const between = ".."

// String writes a span as it is read.
func (s Span) String() string {
	if s.From == s.To {
		return s.From.String()
	}
	return s.From.String() + between + s.To.String()
}

// MarshalJSON implements json.Marshaler.
func (s Span) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Span) UnmarshalJSON(data []byte) error {
	wrong := fmt.Errorf(`%s must be a time such as "2s", or two such as "1s..5s"`, data)
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return wrong
	}
	from, to, two := strings.Cut(text, between)
	var err error
	if s.From, err = time.ParseDuration(from); err != nil {
		return wrong
	}
	s.To = s.From
	if two {
		if s.To, err = time.ParseDuration(to); err != nil {
			return wrong
		}
	}
	return nil
}

// Draw is the point of the span at a fraction from 0 to 1 of it.
func (s Span) Draw(fraction float64) time.Duration {
	return s.From + time.Duration(fraction*float64(s.To-s.From))
}
