package binaries

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/debian"
)

// seccomp unpacks libseccomp's headers and static library from Debian's package
// into the cache, and stands in for pkg-config with a script that names them:
// nothing is installed.
func (b *builder) seccomp(ctx context.Context) (env []string, err error) {
	const pkg = "libseccomp-dev"
	dir, err := b.store.Ensure(ctx, cache.Entry{Kind: "debian", Key: pkg}, func(ctx context.Context, dir string) error {
		archives, err := debian.New(b.store).Download(ctx, debian.Query{Packages: []string{pkg}, NoDependencies: true})
		if err != nil {
			return err
		}
		for _, archive := range archives {
			if err := debian.Unpack(ctx, archive, dir); err != nil {
				return err
			}
		}
		libs, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/libseccomp.a"))
		if err != nil {
			return err
		}
		if len(libs) == 0 {
			return fmt.Errorf("no libseccomp.a in %s", pkg)
		}
		rel, err := filepath.Rel(dir, libs[0])
		if err != nil {
			return err
		}
		script := fmt.Sprintf(`#!/bin/sh
root=$(dirname "$(realpath "$0")")
for arg; do
	case $arg in
	--cflags) echo "-I$root/usr/include" ;;
	--libs) echo "-L$root/%s -l:libseccomp.a" ;;
	esac
done
`, filepath.Dir(rel))
		return os.WriteFile(filepath.Join(dir, "pkg-config"), []byte(script), 0o755)
	})
	return []string{"PKG_CONFIG=" + filepath.Join(dir, "pkg-config")}, err
}
