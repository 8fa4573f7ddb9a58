package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SourceEnv names the environment variable that says where the repository is.
const SourceEnv = "PLUMB_SOURCE"

const modulePath = "github.com/plumbline/plumbline"

// ErrNoSource says that the repository is not at hand, so nothing can be made from it.
var ErrNoSource = errors.New("the source tree of " + modulePath + " was not found above the working directory or the program: set " + SourceEnv)

// Source finds the repository, whose fixtures/ holds the recipes: by
// PLUMB_SOURCE, else above the working directory, else above the program.
func Source() (string, error) {
	if dir := os.Getenv(SourceEnv); dir != "" {
		if !isSource(dir) {
			return "", fmt.Errorf("%s=%s: no go.mod of %s there", SourceEnv, dir, modulePath)
		}
		return filepath.Abs(dir)
	}
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			if isSource(dir) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", ErrNoSource
}

func isSource(dir string) bool {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && strings.HasPrefix(string(mod), "module "+modulePath+"\n")
}
