package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeTar packs a directory so that equal content gives an equal file: sorted,
// without times. Owners and modes are kept, hard links become files.
func writeTar(root, file string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	w := tar.NewWriter(out)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		return addFile(w, root, path, d)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func addFile(w *tar.Writer, root, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	head, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	if head.Name, err = filepath.Rel(root, path); err != nil {
		return err
	}
	if d.IsDir() {
		head.Name += "/"
	}
	owner := info.Sys().(*syscall.Stat_t)
	*head = tar.Header{
		Typeflag: head.Typeflag, Name: head.Name, Linkname: head.Linkname, Size: head.Size, Mode: head.Mode,
		Uid: int(owner.Uid), Gid: int(owner.Gid), ModTime: time.Unix(0, 0), Devmajor: head.Devmajor, Devminor: head.Devminor,
		Format: tar.FormatPAX,
	}
	if err := w.WriteHeader(head); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// uncompressedLayer is a tar file as a layer of its own, without compression:
// it never crosses a network, so compressing it would only cost time.
type uncompressedLayer struct {
	path   string
	digest v1.Hash
	size   int64
}

// read takes the file's digest.
func (l *uncompressedLayer) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if l.size, err = io.Copy(sum, f); err != nil {
		return fmt.Errorf("digest of %s: %w", path, err)
	}
	l.path, l.digest = path, v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	return nil
}

func (l *uncompressedLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *uncompressedLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l *uncompressedLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *uncompressedLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
func (l *uncompressedLayer) Size() (int64, error)                 { return l.size, nil }
func (l *uncompressedLayer) MediaType() (types.MediaType, error) {
	return types.OCIUncompressedLayer, nil
}
