package binaries_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/cache"
)

// source writes a repository with a module that has a command and a test.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"mod/go.mod": "module example.org/mod\n\ngo 1.24\n\nrequire example.org/thing v1.37.2\n\nreplace example.org/thing => ./thing\n",
		"mod/hello/main.go": "package main\n\nimport \"example.org/thing\"\n\nvar version, minor string\n\n" +
			"func main() { println(thing.Greeting, version, minor) }\n",
		"mod/thing/go.mod":        "module example.org/thing\n",
		"mod/thing/thing.go":      "package thing\n\nconst Greeting = \"hello\"\n",
		"mod/check/check_test.go": "package check\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { t.Log(\"checked\") }\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func group() binaries.Group {
	return binaries.Group{Name: "things", Module: "mod", Programs: []binaries.Program{
		{Name: "hello", Package: "./hello", Module: "example.org/thing", Static: true,
			Variables: map[string]string{"main.version": "{version}", "main.minor": "{major}-{minor}"}},
		{Name: "check.test", Package: "./check", Tests: true},
	}}
}

func TestAGroupIsBuiltOnceWithItsVersions(t *testing.T) {
	repository, store := source(t), cache.Store{Dir: t.TempDir()}
	var steps []string
	build := func() binaries.Set {
		set, err := group().Build(t.Context(), store, repository, func(step string) { steps = append(steps, step) })
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	set := build()
	if out, err := exec.Command(set.Path("hello")).CombinedOutput(); err != nil || string(out) != "hello v1.37.2 1-37\n" {
		t.Errorf("the program says %q: %v", out, err)
	}
	if out, err := exec.Command(set.Path("check.test"), "-test.v").CombinedOutput(); err != nil || !strings.Contains(string(out), "checked") {
		t.Errorf("the tests say %q: %v", out, err)
	}
	if len(steps) != 2 || !strings.Contains(steps[0], "hello v1.37.2") {
		t.Errorf("steps %q", steps)
	}
	if again := build(); again != set || len(steps) != 2 {
		t.Errorf("the second time it is %v after %q, was %v", again, steps, set)
	}
	if err := os.WriteFile(filepath.Join(repository, "mod/thing/thing.go"), []byte("package thing\n\nconst Greeting = \"bye\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed := build(); changed == set {
		t.Error("a change of the module changed nothing")
	}
}

// TestWhatIsWrittenHereDoesNotAgeWhatIsNot holds that a program of our own in a module does not make programs of other
// modules be built anew, which takes long.
func TestWhatIsWrittenHereDoesNotAgeWhatIsNot(t *testing.T) {
	repository := source(t)
	module := filepath.Join(repository, "mod")
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte("module example.org/mod\n\nrequire example.org/thing v1.37.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	key := func(pkg string) string {
		entry, err := binaries.Group{Name: "things", Module: "mod", Programs: []binaries.Program{{Name: "it", Package: pkg}}}.Entry(repository)
		if err != nil {
			t.Fatal(err)
		}
		return entry.Key
	}
	own, other := key("./hello"), key("example.org/thing")
	if err := os.WriteFile(filepath.Join(module, "hello/main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if key("./hello") == own || key("example.org/thing") != other {
		t.Error("a change of the module's own program must change its key and no other")
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte("module example.org/mod\n\nrequire example.org/thing v1.37.3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if key("example.org/thing") == other {
		t.Error("another version must change the key")
	}
}

func TestAFailedBuildShowsTheCompilersWords(t *testing.T) {
	g := group()
	g.Programs[0].Package = "./no-such-folder"
	_, err := g.Build(t.Context(), cache.Store{Dir: t.TempDir()}, source(t), func(string) {})
	if err == nil || !strings.Contains(err.Error(), "build hello") || !strings.Contains(err.Error(), "no-such-folder") {
		t.Errorf("error %v", err)
	}
}

func TestADependencyThatIsNotRequired(t *testing.T) {
	_, err := group().Dependency(t.Context(), source(t), "example.org/other")
	if err == nil || !strings.Contains(err.Error(), "module mod does not require example.org/other") {
		t.Errorf("error %v", err)
	}
}

// TestDependencyOfThisRepository finds the files of a module that every build of the runtime needs anyway.
func TestDependencyOfThisRepository(t *testing.T) {
	if testing.Short() {
		t.Skip("may fetch a module")
	}
	repository, err := cache.Source()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := binaries.Runtime().Dependency(t.Context(), repository, "github.com/opencontainers/runc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "main.go")); err != nil {
		t.Error(err)
	}
}
