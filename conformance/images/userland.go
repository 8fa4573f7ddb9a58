package images

import (
	"io/fs"

	"github.com/plumbline/plumbline/framework/images"
)

const setuid = fs.ModeSetuid

// userland is a small Debian with the commands that behaviours run in containers.
func userland() []images.Layer {
	return []images.Layer{
		images.Packages("userland",
			"base-files", "bash", "coreutils", "findutils", "grep", "sed", "mawk", "gzip", "tar", "hostname", "debianutils",
			"procps", "util-linux", "mount", "libc-bin", "netbase", "perl-base",
			"ca-certificates", "curl", "wget", "bind9-dnsutils", "bind9-host", "netcat-openbsd", "socat", "iperf",
			"iproute2", "iputils-ping", "iptables"),
		// Debian's packages leave these choices to their scripts.
		images.Text("userland-choices", map[string]string{
			"/usr/bin/sh":                 "-> bash",
			"/usr/bin/awk":                "-> mawk",
			"/usr/bin/nc":                 "-> nc.openbsd",
			"/usr/bin/netcat":             "-> nc.openbsd",
			"/usr/bin/which":              "-> which.debianutils",
			"/usr/sbin/iptables":          "-> iptables-nft",
			"/usr/sbin/iptables-save":     "-> iptables-nft-save",
			"/usr/sbin/iptables-restore":  "-> iptables-nft-restore",
			"/usr/sbin/ip6tables":         "-> ip6tables-nft",
			"/usr/sbin/ip6tables-save":    "-> ip6tables-nft-save",
			"/usr/sbin/ip6tables-restore": "-> ip6tables-nft-restore",
		}),
	}
}
