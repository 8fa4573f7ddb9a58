// Package rules holds the repository's own rules as tests: which room may import
// which, and that every package says what it is.
package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/plumbline/plumbline/"

// sourceFile is one Go file of the repository, parsed as far as its imports.
type sourceFile struct {
	path    string // relative to the repository's root, with slashes
	imports []string
	ast     *ast.File
}

func (f sourceFile) dir() string { return filepath.ToSlash(filepath.Dir(f.path)) }

func sourceFiles(t *testing.T) []sourceFile {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []sourceFile
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (strings.HasPrefix(name, ".") && path != root || name == "bin" || name == "artifacts" || name == "testdata") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(root, path)
		file := sourceFile{path: filepath.ToSlash(relative), ast: parsed}
		for _, spec := range parsed.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			file.imports = append(file.imports, imported)
		}
		files = append(files, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files found below %s: the rules would hold of nothing", len(files), root)
	}
	return files
}

func below(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

func TestForbiddenImports(t *testing.T) {
	rules := []struct{ from, to, because string }{
		{"framework", module + "components", "the harness knows components only as command lines, so that any of them can be replaced"},
		{"components", module + "framework", "a component runs anywhere, not only in this harness"},
		{"e2e", module + "components", "a suite sees the API and the machines' outsides alone, so that it judges anybody's component"},
		{"conformance", module + "components", "a suite sees the API and the machines' outsides alone, so that it judges anybody's component"},
		{"framework", module + "e2e", "imports point from the suites to the harness"},
		{"framework", module + "conformance", "imports point from the conformance kit to the harness"},
		{"components", module + "conformance", "a component knows nothing of what judges it"},
		{"framework", module + "cmd", "imports point from the command to the harness"},
		{"components", module + "cmd", "imports point from the command to the components"},
		{"components", "k8s.io/kubernetes", "the components are our own; only the reference module may build upstream's"},
		{"framework", "k8s.io/kubernetes", "only the reference module may build upstream's components"},
		{"e2e", "k8s.io/kubernetes", "only the reference module may build upstream's components"},
		{"cmd", "k8s.io/kubernetes", "only the reference module may build upstream's components"},
	}
	for _, file := range sourceFiles(t) {
		for _, imported := range file.imports {
			for _, rule := range rules {
				if below(file.dir(), rule.from) && below(imported, rule.to) {
					t.Errorf("%s imports %s: %s", file.path, imported, rule.because)
				}
			}
		}
	}
}

// TestComponentsKeepApart holds each component out of the others' rooms. What two of
// them need lives in a library room of its own, listed here with its reason.
func TestComponentsKeepApart(t *testing.T) {
	libraries := map[string]string{
		"quota":   "admission and the quota controller must count usage alike",
		"serving": "every component serves health and metrics to the same clients by the same rules",
	}
	room := func(path string) string {
		rest, ok := strings.CutPrefix(path, "components/")
		if !ok {
			return ""
		}
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	for _, file := range sourceFiles(t) {
		own := room(file.dir())
		if own == "" {
			continue
		}
		for _, imported := range file.imports {
			other := room(strings.TrimPrefix(imported, module))
			if other == "" || other == own || libraries[other] != "" {
				continue
			}
			t.Errorf("%s imports %s: components do not know each other's insides; a library both need is listed in this test", file.path, imported)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	comments := map[string][]string{}
	packages := map[string]bool{}
	for _, file := range sourceFiles(t) {
		name := file.ast.Name.Name
		key := file.dir() + " " + strings.TrimSuffix(name, "_test")
		isTest := strings.HasSuffix(file.path, "_test.go")
		if !isTest {
			packages[key] = true
		}
		if file.ast.Doc != nil && (!isTest || !packages[key]) {
			comments[key] = append(comments[key], file.path)
		}
	}
	for key := range packages {
		switch n := len(comments[key]); {
		case n == 0:
			t.Errorf("package %s has no package comment", key)
		case n > 1:
			t.Errorf("package %s has %d package comments, in %s: keep one", key, n, strings.Join(comments[key], " and "))
		}
	}
}

func TestNoRoomForOddsAndEnds(t *testing.T) {
	for _, file := range sourceFiles(t) {
		for part := range strings.SplitSeq(file.dir(), "/") {
			switch part {
			case "util", "utils", "helper", "helpers", "common", "misc", "shared":
				t.Errorf("%s: a folder %q says nothing of what is in it; name the thing", file.path, part)
			}
		}
	}
}

func TestSuitesDoNotSleep(t *testing.T) {
	for _, file := range sourceFiles(t) {
		if !below(file.dir(), "e2e") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("../..", file.path))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "time."+"Sleep(") {
			t.Errorf("%s sleeps: wait on a watch instead", file.path)
		}
	}
}
