package node

import (
	"bufio"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/version"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Version is the version of Kubernetes that this kubelet is.
func Version() string {
	if v := version.Get().GitVersion; v != "" && !strings.HasPrefix(v, "v0.0.0") {
		return v
	}
	return "v" + version.DefaultKubeBinaryVersion + ".0"
}

func systemInfo(r *runtimeapi.VersionResponse) v1.NodeSystemInfo {
	info := v1.NodeSystemInfo{
		MachineID:       firstLine("/etc/machine-id", "/var/lib/dbus/machine-id"),
		SystemUUID:      firstLine("/sys/class/dmi/id/product_uuid", "/etc/machine-id"),
		BootID:          firstLine("/proc/sys/kernel/random/boot_id"),
		OSImage:         osImage(),
		KubeletVersion:  Version(),
		OperatingSystem: goruntime.GOOS,
		Architecture:    goruntime.GOARCH,
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		info.KernelVersion = unix.ByteSliceToString(uts.Release[:])
	}
	if r != nil {
		info.ContainerRuntimeVersion = fmt.Sprintf("%s://%s", r.RuntimeName, strings.TrimPrefix(r.RuntimeVersion, "v"))
	}
	return info
}

func firstLine(files ...string) string {
	for _, file := range files {
		if raw, err := os.ReadFile(file); err == nil {
			if line := strings.TrimSpace(string(raw)); line != "" {
				return line
			}
		}
	}
	return ""
}

func osImage() string {
	file, err := os.Open("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}

// FindIP is the address of the first interface that is up and leads somewhere.
func FindIP() (net.IP, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, address := range addresses {
			if n, ok := address.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
				return n.IP, nil
			}
		}
	}
	return nil, fmt.Errorf("--node-ip: not given, and no network interface with an address is up")
}
