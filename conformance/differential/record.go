package differential

import (
	"compress/gzip"
	"encoding/json"
	"io"

	v1 "k8s.io/api/core/v1"
)

// Recording notes all that a contender is told, and its verdicts, so that others can be held to them without it:
// requests one a line, each that asks for a verdict followed by the answer, compressed.
type Recording struct {
	Contender
	zip     *gzip.Writer
	encoder *json.Encoder
}

var _ Contender = &Recording{}

// NewRecording notes what passes to and from the contender.
func NewRecording(out io.Writer, of Contender) *Recording {
	zip := gzip.NewWriter(out)
	return &Recording{Contender: of, zip: zip, encoder: json.NewEncoder(zip)}
}

// Tell passes a request on.
func (r *Recording) Tell(request Request) error {
	if err := r.encoder.Encode(request); err != nil {
		return err
	}
	return r.Contender.Tell(request)
}

// Judge passes a question and its answer on.
func (r *Recording) Judge(pod *v1.Pod) (Verdict, error) {
	v, err := r.Contender.Judge(pod)
	if err != nil {
		return v, err
	}
	if err := r.encoder.Encode(Request{Judge: pod}); err != nil {
		return v, err
	}
	return v, r.encoder.Encode(v)
}

// Close ends the recording; its contender stays open.
func (r *Recording) Close() error { return r.zip.Close() }
