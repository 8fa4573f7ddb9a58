package runtime

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSandboxProfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile.json")
	if err := WriteSandboxProfile(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var profile specs.LinuxSeccomp
	if err := json.Unmarshal(data, &profile); err != nil {
		t.Fatal(err)
	}
	var forbidden []string
	for _, rule := range profile.Syscalls {
		if rule.Action == specs.ActErrno && len(rule.Args) == 0 {
			forbidden = append(forbidden, rule.Names...)
		}
	}
	for _, name := range []string{"mount", "setns", "unshare", "ptrace", "bpf", "kexec_load", "init_module", "reboot", "settimeofday", "keyctl"} {
		if !slices.Contains(forbidden, name) {
			t.Errorf("%s is not forbidden", name)
		}
	}
	if profile.DefaultAction != specs.ActAllow {
		t.Errorf("what is not named is %s", profile.DefaultAction)
	}
}

func TestSandboxIsConfined(t *testing.T) {
	for path, want := range map[string]runtimeapi.SecurityProfile_ProfileType{
		"":             runtimeapi.SecurityProfile_RuntimeDefault,
		"/a/file.json": runtimeapi.SecurityProfile_Localhost,
	} {
		b := Builder{SandboxProfile: path}
		got := b.Sandbox(SandboxRequest{Pod: &v1.Pod{}}).GetLinux().GetSecurityContext().GetSeccomp()
		if got.GetProfileType() != want || got.GetLocalhostRef() != path {
			t.Errorf("with %q: %v", path, got)
		}
	}
}
