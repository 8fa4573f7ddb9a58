package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestUnmapProgram(t *testing.T) {
	before := mappedFiles(t)
	var p program
	if err := p.unmap(); err != nil {
		t.Fatal(err)
	}
	if p.sparse == nil {
		t.Error("pages come back by the dozen")
	}
	after := mappedFiles(t)
	if after >= before {
		t.Errorf("%d kB of files are mapped, before it were %d", after, before)
	}
	// What was taken away comes back.
	if got := fmt.Sprint(strings.Repeat("ab", 3), 7); got != "ababab7" {
		t.Errorf("the program computes %q", got)
	}
}

// mappedFiles is how much of its files this process has mapped, in kB.
func mappedFiles(t *testing.T) (size int) {
	t.Helper()
	status, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "RssFile: %d kB", &size); err == nil {
			return size
		}
	}
	t.Fatal("/proc/self/status has no line RssFile")
	return 0
}
