// Package journal keeps what a run has found out, one line a spec that has ended, on
// disk before it counts: a run that is killed goes on where its journal ends.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/onsi/ginkgo/v2/types"
)

// Record is one attempt at one behaviour.
type Record struct {
	// Behaviour is the behaviour's id, and Attempt counts from 1.
	Behaviour string `json:"behaviour"`
	Attempt   int    `json:"attempt"`
	// Hung says why the attempt was ended from outside: it took longer than the limit,
	// or its process died.
	Hung string `json:"hung,omitempty"`
	// Report is what Ginkgo says of it.
	Report types.SpecReport `json:"report"`
}

// Journal is an open journal.
type Journal struct {
	mu      sync.Mutex
	file    *os.File
	records []Record
}

// Open opens the journal at path, or makes it, and reads what is there. A last line
// that was not written to its end is dropped: the attempt is made again.
func Open(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	records, whole, err := read(file)
	if err == nil {
		err = file.Truncate(whole)
	}
	if err == nil {
		_, err = file.Seek(whole, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), file.Close())
	}
	return &Journal{file: file, records: records}, nil
}

// Read returns what a journal holds without touching it; a journal that is not there
// holds nothing.
func Read(path string) ([]Record, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	records, _, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return records, nil
}

// read returns the records and the length of the lines that are whole.
func read(r io.Reader) ([]Record, int64, error) {
	var records []Record
	var whole int64
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return records, whole, nil
		}
		if err != nil {
			return nil, 0, err
		}
		var record Record
		if err := json.Unmarshal(line, &record); err != nil {
			if _, next := lines.Peek(1); errors.Is(next, io.EOF) {
				return records, whole, nil
			}
			return nil, 0, fmt.Errorf("line %d: %w", len(records)+1, err)
		}
		records = append(records, record)
		whole += int64(len(line))
	}
}

// Append writes a record and returns when it is on disk.
func (j *Journal) Append(record Record) error {
	var line bytes.Buffer
	if err := json.NewEncoder(&line).Encode(record); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(line.Bytes()); err != nil {
		return fmt.Errorf("journal %s: %w", j.file.Name(), err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal %s: %w", j.file.Name(), err)
	}
	j.records = append(j.records, record)
	return nil
}

// Records are all records, in order.
func (j *Journal) Records() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Record(nil), j.records...)
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
