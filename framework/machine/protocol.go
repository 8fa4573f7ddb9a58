package machine

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

// InitName is argv[0] of a machine's init process.
const InitName = "plumb-init"

// initSocket is the descriptor under which the init process inherits its socket.
const initSocket = 3

// setup is the first message to an init process: all it needs to make the
// inside of the machine.
type setup struct {
	Hostname    string             `json:"hostname"`
	Directory   string             `json:"directory"`
	Disk        string             `json:"disk,omitempty"`
	Binds       []Bind             `json:"binds,omitempty"`
	Hierarchies []cgroup.Hierarchy `json:"hierarchies"`
	Sysctls     map[string]string  `json:"sysctls,omitempty"`
}

type operation string

const (
	opStart  operation = "start"
	opSignal operation = "signal"
	opUsage  operation = "usage"
)

// request asks the init process for one operation.
type request struct {
	ID     uint64       `json:"id"`
	Op     operation    `json:"op"`
	Start  *startParams `json:"start,omitempty"`
	PID    int          `json:"pid,omitempty"`
	Signal int          `json:"signal,omitempty"`
}

// startParams describe a process. The files of the message are the program, if
// it is given by descriptor, then standard input, output and error.
type startParams struct {
	Args         []string `json:"args"`
	Env          []string `json:"env,omitempty"`
	Directory    string   `json:"directory,omitempty"`
	ByDescriptor bool     `json:"byDescriptor,omitempty"`
	Terminal     bool     `json:"terminal,omitempty"`
}

// message is what an init process says: the answer to a request, or that a
// process has ended.
type message struct {
	ID    uint64     `json:"id,omitempty"`
	Error string     `json:"error,omitempty"`
	Errno unix.Errno `json:"errno,omitempty"` // the kernel's part in the error
	PID   int        `json:"pid,omitempty"`
	Usage *Usage     `json:"usage,omitempty"`
	Exit  *Exit      `json:"exit,omitempty"`
}

// failure makes a message of an error.
func failure(err error) message {
	m := message{Error: err.Error()}
	errors.As(err, &m.Errno)
	return m
}

// err is the error that a message tells, or nil.
func (m message) err() error {
	if m.Error == "" {
		return nil
	}
	return told{m.Error, m.Errno}
}

// told is an error of the init process. The errno beneath it is as good as one of this
// process's own.
type told struct {
	text  string
	errno unix.Errno
}

func (t told) Error() string { return t.text }

func (t told) Unwrap() error {
	if t.errno == 0 {
		return nil
	}
	return t.errno
}

// Exit says how a process ended.
type Exit struct {
	// Code is the exit code, or -1 if a signal ended the process.
	Code int `json:"code"`
	// Signal is the number of the signal that ended the process, or 0.
	Signal int `json:"signal,omitempty"`
	// Lost is true where the whole machine ended, and with it the process.
	Lost bool `json:"lost,omitempty"`
}

// Usage is what a process uses, in bytes.
type Usage struct {
	// Resident counts every page in memory, those shared with others in full.
	Resident int64 `json:"resident"`
	// Proportional counts each shared page divided by the number of its users.
	Proportional int64 `json:"proportional"`
	// Anonymous counts pages that no file backs.
	Anonymous int64 `json:"anonymous"`
}
