package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/plumbline/plumbline/framework/binaries"
	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/images"
)

const lastFile = "last.json"

// last is where the assets are that were built last, for use outside the repository.
type last struct {
	Binaries string            `json:"binaries"`
	Images   map[string]string `json:"images"` // by the set's name
}

func readLast(store cache.Store) (last, error) {
	var l last
	path := filepath.Join(store.Dir, lastFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// remember notes what was built. Sets that were built before and not this time stay noted.
func remember(store cache.Store, a Assets, sets []images.Set) error {
	old, err := readLast(store)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		old = last{} // unreadable: it is written anew
	}
	now := last{Binaries: a.Binaries.Dir, Images: map[string]string{}}
	for name, dir := range old.Images {
		if _, err := os.Stat(dir); err == nil {
			now.Images[name] = dir
		}
	}
	for i, set := range sets {
		now.Images[set.Name] = a.Images[i].Dir
	}
	if now.Binaries == old.Binaries && maps.Equal(now.Images, old.Images) {
		return nil
	}
	data, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(store.Dir, lastFile)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(store.Dir, lastFile))
}

// lastBuilt is what was built last, as far as it is all there.
func lastBuilt(store cache.Store, sets []images.Set) (Assets, error) {
	l, err := readLast(store)
	if err != nil {
		return Assets{}, fmt.Errorf("nothing was built before: %w", err)
	}
	a := Assets{Binaries: binaries.Set{Dir: l.Binaries}}
	if _, err := os.Stat(l.Binaries); err != nil {
		return Assets{}, fmt.Errorf("what was built before is gone: %w", err)
	}
	for _, set := range sets {
		dir := l.Images[set.Name]
		if dir == "" {
			return Assets{}, fmt.Errorf("the %s images were not built before", set.Name)
		}
		if _, err := os.Stat(dir); err != nil {
			return Assets{}, fmt.Errorf("what was built before is gone: %w", err)
		}
		a.Images = append(a.Images, images.Layout{Dir: dir})
	}
	return a, nil
}
