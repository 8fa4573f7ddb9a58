package incluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/runner"
)

// noise does not compress, so that it takes several pieces.
func noise(length int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for text.Len() < length {
		fmt.Fprintf(&text, "%x", random.Uint64())
	}
	return text.String()
}

// told is the log of three events among other lines, and the events in words.
func told(t *testing.T) (log string, words []string) {
	t.Helper()
	var out bytes.Buffer
	teller := &teller{out: &out}
	fmt.Fprintln(&out, "I1123 something else")
	teller.tell(runner.Event{Started: "b"})
	fmt.Fprintln(&out, "plumb is a word that others use, too")
	teller.tell(runner.Event{Ended: &journal.Record{Behaviour: "b", Attempt: 2, Report: types.SpecReport{State: types.SpecStatePassed, CapturedStdOutErr: noise(40 << 10)}}})
	teller.tell(runner.Event{Note: "n"})
	if err := teller.failure(); err != nil {
		t.Fatal(err)
	}
	return out.String(), []string{"started b", "ended b 2 passed", "note n"}
}

func inWords(e runner.Event) string {
	switch {
	case e.Started != "":
		return "started " + e.Started
	case e.Ended != nil:
		return fmt.Sprintf("ended %s %d %s", e.Ended.Behaviour, e.Ended.Attempt, e.Ended.Report.State)
	default:
		return "note " + e.Note
	}
}

func TestWhatIsToldIsHeardOnceHoweverOftenTheLogIsRead(t *testing.T) {
	log, want := told(t)
	for _, line := range strings.Split(log, "\n") {
		if len(line) > 16<<10 {
			t.Errorf("a line of %d bytes: runtimes cut it", len(line))
		}
	}
	var got []string
	l := &listener{heard: func(e runner.Event) error { got = append(got, inWords(e)); return nil }}
	// The connection breaks anywhere: in a line, between a message's pieces, between messages.
	for _, end := range []int{10, 100, len(log) / 3, len(log) / 2, len(log) - 1, len(log), len(log)} {
		if err := l.read(strings.NewReader(log[:end])); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("heard %q, not %q", got, want)
	}
}

func TestALogWithoutItsBeginningIsHeardFromTheNextMessage(t *testing.T) {
	log, want := told(t)
	// The second of the pieces of the second message comes first.
	at := strings.Index(log, "plumb 2 2/")
	if at < 0 {
		t.Fatal("the message is in one piece")
	}
	var got []string
	l := &listener{heard: func(e runner.Event) error { got = append(got, inWords(e)); return nil }}
	if err := l.read(strings.NewReader(log[at:])); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, "; ") != want[2] {
		t.Errorf("heard %q, not %q", got, want[2:])
	}
}

func TestAnEventThatIsRefusedIsNotHeard(t *testing.T) {
	log, _ := told(t)
	refusal := errors.New("no room")
	l := &listener{heard: func(runner.Event) error { return refusal }}
	if err := l.read(strings.NewReader(log)); !errors.Is(err, refusal) || l.last != 0 {
		t.Errorf("error %v after message %d", err, l.last)
	}
}

func TestTellingThatFailsIsAFailure(t *testing.T) {
	teller := &teller{out: full{}}
	teller.tell(runner.Event{Note: "n"})
	if err := teller.failure(); err == nil {
		t.Error("nobody could hear it, and it was no error")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no room") }

// FuzzLog reads any log, twice over: what it tells is told once, or it is an error.
func FuzzLog(f *testing.F) {
	var out bytes.Buffer
	teller := &teller{out: &out}
	teller.tell(runner.Event{Started: "b"})
	teller.tell(runner.Event{Note: noise(9 << 10)})
	f.Add(out.Bytes())
	f.Add([]byte("plumb 1 1/1 H4sI\nplumb 9223372036854775807 1/0 x\nplumb -1 -1/-1 y\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		told := 0
		l := &listener{heard: func(runner.Event) error { told++; return nil }}
		if l.read(bytes.NewReader(log)) != nil {
			return
		}
		once := told
		if err := l.read(bytes.NewReader(log)); err != nil || told != once {
			t.Errorf("%d events were told, and %d when it was read again: %v", once, told-once, err)
		}
	})
}
