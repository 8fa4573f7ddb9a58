package debian

import (
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Source fetches a package's source as its authors published it, without
// Debian's changes, and unpacks it into the directory root.
func (a *Apt) Source(ctx context.Context, pkg, root string) error {
	unlock, err := a.prepare(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	archive, err := a.downloadSource(ctx, pkg)
	if err != nil {
		return fmt.Errorf("fetch the source of Debian package %s: %w", pkg, err)
	}
	return unpackSource(ctx, archive, root)
}

// downloadSource uses lists of its own, since few hosts have any of sources.
func (a *Apt) downloadSource(ctx context.Context, pkg string) (string, error) {
	parts := filepath.Join(a.dir, "sources.list.d")
	if err := writeSourceEntries("/etc/apt", parts); err != nil {
		return "", err
	}
	options := append(a.options(false), "-o", "Dir::State::lists="+filepath.Join(a.dir, "source-lists"),
		"-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts="+parts)
	get := slices.Concat(options, []string{"--download-only", "--only-source", "source", pkg})
	if _, err := a.run(ctx, "archives", get...); err != nil {
		_, updateErr := a.run(ctx, "archives", slices.Concat(options, []string{"update"})...)
		if _, err := a.run(ctx, "archives", get...); err != nil {
			return "", errors.Join(updateErr, err)
		}
	}
	listing, err := a.run(ctx, "empty", slices.Concat(options, []string{"--print-uris", "--only-source", "source", pkg})...)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(listing) {
		if fields := strings.Fields(line); len(fields) >= 3 && strings.Contains(fields[1], ".orig.tar.") && !strings.HasSuffix(fields[1], ".asc") {
			return filepath.Join(a.dir, "archives", fields[1]), nil
		}
	}
	return "", fmt.Errorf("apt-get names no original archive:\n%s", listing)
}

// binaryEntry is what makes an entry of the list of package sources one of
// binaries, in either of its formats.
var binaryEntry = regexp.MustCompile(`(?m)^(Types:.*|deb(?:[ \t].*))$`)

// writeSourceEntries copies the host's entries of binary packages as entries of sources.
func writeSourceEntries(etc, to string) error {
	if err := errors.Join(os.RemoveAll(to), os.MkdirAll(to, 0o755)); err != nil {
		return err
	}
	var files []string
	for _, pattern := range []string{"sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"} {
		found, err := filepath.Glob(filepath.Join(etc, pattern))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), []byte(sourceEntries(string(data))), 0o644); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		return fmt.Errorf("%s names no package sources: %w", etc, fs.ErrNotExist)
	}
	return nil
}

func sourceEntries(entries string) string {
	return binaryEntry.ReplaceAllStringFunc(entries, func(line string) string {
		if strings.HasPrefix(line, "Types:") {
			return "Types: deb-src"
		}
		return "deb-src" + strings.TrimPrefix(line, "deb")
	})
}

// unpackSource unpacks an archive without its topmost folder.
func unpackSource(ctx context.Context, archive, root string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	var content io.Reader = file
	switch filepath.Ext(archive) {
	case ".bz2":
		content = bzip2.NewReader(file)
	case ".gz":
		if content, err = gzip.NewReader(file); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "tar", "--extract", "--strip-components=1", "--no-same-owner", "--directory", root)
	if content == file {
		cmd.Args = append(cmd.Args, "--xz")
	}
	cmd.Stdin = content
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w\n%s", filepath.Base(archive), err, out)
	}
	return nil
}
