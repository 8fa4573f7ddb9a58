package runtime

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// WriteSandboxProfile writes the seccomp profile of the sandboxes' own processes.
//
// The runtime's profile would do, and does where there is none of these: but it permits
// some four hundred system calls one by one, on several architectures, and its compilation
// takes longer than all else that starts a sandbox. A process that only waits is as well
// held by one that forbids what acts on the kernel, on time, on keys, on mounts and
// namespaces, and on other processes.
func WriteSandboxProfile(path string) error {
	profile := specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Syscalls: []specs.LinuxSyscall{{Action: specs.ActErrno, Names: []string{
			"acct", "bpf", "delete_module", "finit_module", "init_module", "ioperm", "iopl",
			"kexec_file_load", "kexec_load", "lookup_dcookie", "perf_event_open", "quotactl", "quotactl_fd",
			"reboot", "swapoff", "swapon", "syslog", "vhangup",
			"adjtimex", "clock_adjtime", "clock_settime", "settimeofday",
			"add_key", "keyctl", "request_key",
			"fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
			"pivot_root", "umount2", "name_to_handle_at", "open_by_handle_at",
			"setdomainname", "sethostname", "setns", "unshare",
			"kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
			"io_uring_enter", "io_uring_register", "io_uring_setup", "userfaultfd",
			"get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy",
		}}},
	}
	data, err := json.Marshal(profile)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
