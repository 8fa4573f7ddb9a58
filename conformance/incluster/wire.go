package incluster

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/runner"
)

// A message goes into a log as lines of this form, among lines that are none:
//
//	plumb NUMBER PART/PARTS DATA
//
// Numbers count from 1. DATA is a piece of the message in JSON, compressed, in base64.
// Pieces are shorter than what runtimes cut lines at.
const (
	frameWord   = "plumb"
	pieceLength = 8 << 10
)

// message is one event of a pod's run.
type message struct {
	Started string          `json:"started,omitempty"`
	Ended   *journal.Record `json:"ended,omitempty"`
	Note    string          `json:"note,omitempty"`
}

// teller prints messages.
type teller struct {
	mu     sync.Mutex
	out    io.Writer
	number int
	err    error
}

// tell prints an event. It is what the pod's run calls, from several goroutines.
func (t *teller) tell(e runner.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.number++
	if err := t.print(message(e)); err != nil && t.err == nil {
		t.err = fmt.Errorf("tell what came of a behaviour: %w", err)
	}
}

func (t *teller) print(m message) error {
	var packed bytes.Buffer
	compressor := gzip.NewWriter(&packed)
	if err := json.NewEncoder(compressor).Encode(m); err != nil {
		return err
	}
	if err := compressor.Close(); err != nil {
		return err
	}
	text := base64.StdEncoding.EncodeToString(packed.Bytes())
	parts := (len(text) + pieceLength - 1) / pieceLength
	var lines bytes.Buffer
	for part := 1; part <= parts; part++ {
		piece := text[(part-1)*pieceLength : min(part*pieceLength, len(text))]
		fmt.Fprintf(&lines, "%s %d %d/%d %s\n", frameWord, t.number, part, parts, piece)
	}
	_, err := t.out.Write(lines.Bytes())
	return err
}

// failure is the first error of telling.
func (t *teller) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// listener reads the messages of one pod. Its log may be read several times over, from
// its beginning or from somewhere in the middle: each message is told once.
type listener struct {
	heard func(runner.Event) error
	last  int
}

// read reads a log to its end.
func (l *listener) read(log io.Reader) error {
	var text strings.Builder
	number, parts := 0, 0 // of the message that text has so many parts of
	for lines := bufio.NewReader(log); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil // a line without an end is not whole
			}
			return err
		}
		var n, part, of int
		var piece string
		if count, _ := fmt.Sscanf(line, frameWord+" %d %d/%d %s", &n, &part, &of, &piece); count != 4 {
			continue
		}
		if n <= l.last {
			continue
		}
		if part == 1 {
			text.Reset()
			number, parts = n, 0
		}
		if n != number || part != parts+1 {
			continue // its beginning is lost: it is told again or not at all
		}
		text.WriteString(piece)
		if parts = part; parts < of {
			continue
		}
		m, err := unpack(text.String())
		if err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		if err := l.heard(runner.Event(m)); err != nil {
			return err
		}
		l.last = n
	}
}

func unpack(text string) (message, error) {
	var m message
	decompressor, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	if err != nil {
		return m, err
	}
	return m, json.NewDecoder(decompressor).Decode(&m)
}
