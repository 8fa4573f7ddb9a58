package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// outputFlag is -o: text for people, json for programs.
type outputFlag struct{ format string }

func (o *outputFlag) add(flags *pflag.FlagSet) {
	o.format = "text"
	flags.VarP(o, "output", "o", "text, or json for programs")
}

// String, Set and Type make it a flag.
func (o *outputFlag) String() string { return o.format }

// Set refuses formats that do not exist.
func (o *outputFlag) Set(value string) error {
	if value != "text" && value != "json" {
		return fmt.Errorf("%q is not text or json", value)
	}
	o.format = value
	return nil
}

// Type names the flag's value in the help.
func (o *outputFlag) Type() string { return "FORMAT" }

func (o *outputFlag) json() bool { return o.format == "json" }

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// screen shows progress: what is going on in a line that is overwritten on a
// terminal, and each thing on a line of its own elsewhere. What is made side by
// side tells of its steps side by side.
type screen struct {
	out      io.Writer
	terminal bool

	mu    sync.Mutex
	dirty bool // the line of a step stands there
}

func screenOn(cmd *cobra.Command) *screen {
	return &screen{out: cmd.ErrOrStderr(), terminal: term.IsTerminal(int(os.Stderr.Fd()))}
}

// newScreen is a screen on which a command begins whose time is of interest.
func newScreen(cmd *cobra.Command, output outputFlag) *screen {
	s := screenOn(cmd)
	if output.json() {
		s.out, s.terminal = io.Discard, false
	}
	if s.terminal {
		s.step("command started")
	} else {
		s.phase(0, "command started")
	}
	return s
}

func (s *screen) step(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal {
		fmt.Fprintf(s.out, "\r\x1b[K  ... %s", text)
		s.dirty = true
		return
	}
	fmt.Fprintf(s.out, "         %s\n", text)
}

func (s *screen) phase(after time.Duration, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	fmt.Fprintf(s.out, "%7.3fs %s\n", after.Seconds(), text)
}

func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
}

// wipe clears the line of a step; the caller holds the lock.
func (s *screen) wipe() {
	if s.dirty {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.dirty = false
	}
}
