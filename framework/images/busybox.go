package images

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/framework/debian"
)

// Busybox is a layer with the static busybox, a link for each of its programs and
// the usual folders. It is built from its authors' source: Debian's own build has a
// shell that drops environment variables whose names are not identifiers.
func Busybox() Layer {
	return Layer{name: "busybox", based: onValues("busybox/1"), fill: func(ctx context.Context, b Builder, root string) error {
		source := filepath.Join(filepath.Dir(root), "source")
		if err := debian.New(b.Store).Source(ctx, "busybox", source); err != nil {
			return err
		}
		if err := configureBusybox(ctx, source); err != nil {
			return err
		}
		if err := run(ctx, source, "make", "--silent", "-j"+strconv.Itoa(runtime.NumCPU()), "busybox"); err != nil {
			return err
		}
		for _, dir := range []string{"bin", "etc", "home", "root", "tmp", "var/run", "usr"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				return err
			}
		}
		if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777|os.ModeSticky); err != nil {
			return err
		}
		program := filepath.Join(root, "bin/busybox")
		if err := os.Rename(filepath.Join(source, "busybox"), program); err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, program, "--list").Output()
		if err != nil {
			return err
		}
		files := map[string]string{
			"/usr/bin": "-> ../bin", "/sbin": "-> bin", "/usr/sbin": "-> ../bin",
			"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
			"/etc/group":  "root:x:0:\nnogroup:x:65534:\n",
		}
		for applet := range strings.FieldsSeq(string(out)) {
			if applet != "busybox" {
				files["/bin/"+applet] = "-> busybox"
			}
		}
		if err := writeFiles(root, files); err != nil {
			return err
		}
		return os.RemoveAll(source)
	}}
}

// Options of busybox's default configuration that are changed: a static program,
// without what does not compile with every kernel's headers and every processor.
var (
	busyboxOn  = regexp.MustCompile(`(?m)^# (CONFIG_STATIC) is not set$`)
	busyboxOff = regexp.MustCompile(`(?m)^(CONFIG_TC|CONFIG_SHA1_HWACCEL|CONFIG_SHA256_HWACCEL)=y$`)
)

func configureBusybox(ctx context.Context, source string) error {
	if err := run(ctx, source, "make", "--silent", "defconfig"); err != nil {
		return err
	}
	file := filepath.Join(source, ".config")
	config, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config = busyboxOn.ReplaceAll(config, []byte("$1=y"))
	config = busyboxOff.ReplaceAll(config, []byte("# $1 is not set"))
	if err := os.WriteFile(file, config, 0o644); err != nil {
		return err
	}
	// Options that those bring with them take their defaults.
	return run(ctx, source, "sh", "-c", "yes '' | make --silent oldconfig")
}
