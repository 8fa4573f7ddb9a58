// Command tally adds up JUnit reports and prints "N passed, N failed, N skipped".
// It exits 1 when a test failed or when no test ran at all.
package main

import (
	"encoding/xml"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

type suite struct {
	Suites []suite    `xml:"testsuite"`
	Cases  []testCase `xml:"testcase"`
}

type testCase struct {
	Name    string    `xml:"name,attr"`
	Class   string    `xml:"classname,attr"`
	Failure *struct{} `xml:"failure"`
	Error   *struct{} `xml:"error"`
	Skipped *struct{} `xml:"skipped"`
}

type total struct{ passed, failed, skipped int }

func (t *total) add(s suite) {
	for _, c := range s.Cases {
		switch {
		case c.Failure != nil || c.Error != nil:
			t.failed++
			fmt.Printf("failed: %s %s\n", c.Class, c.Name)
		case c.Skipped != nil:
			t.skipped++
		default:
			t.passed++
		}
	}
	for _, inner := range s.Suites {
		t.add(inner)
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tally DIRECTORY")
		os.Exit(2)
	}
	var sum total
	err := filepath.WalkDir(os.Args[1], func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".xml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var report suite
		if err := xml.Unmarshal(data, &report); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		sum.add(report)
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped)
	if err != nil || sum.failed > 0 || sum.passed == 0 {
		os.Exit(1)
	}
}
