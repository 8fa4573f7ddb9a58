package binaries

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/mod/modfile"
)

// module is a Go module and the versions that it requires.
type module struct {
	dir      string
	versions map[string]string
}

func readModule(dir string) (*module, error) {
	path := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return nil, err
	}
	m := &module{dir: dir, versions: map[string]string{}}
	for _, r := range mod.Require {
		m.versions[r.Mod.Path] = r.Mod.Version
	}
	return m, nil
}

// Dependency is the directory of a module that the group's module requires: its
// files as published, in Go's own cache, fetched if they are not there yet.
func (g Group) Dependency(ctx context.Context, source, path string) (string, error) {
	m, err := readModule(filepath.Join(source, g.Module))
	if err != nil {
		return "", err
	}
	version := m.versions[path]
	if version == "" {
		return "", fmt.Errorf("module %s does not require %s", g.Module, path)
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", path+"@"+version)
	cmd.Dir = m.dir
	cmd.Env = environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	var found struct{ Dir, Error string }
	if err := json.Unmarshal(stdout.Bytes(), &found); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, errors.Join(runErr, err), stderr.String())
	}
	if found.Error != "" {
		return "", fmt.Errorf("fetch %s %s: %s", path, version, found.Error)
	}
	return found.Dir, nil
}
