package images

import (
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plumbline/plumbline/framework/binaries"
)

// Standard is the set that every cluster has: what the cluster itself runs, what
// tutorials name and what the suites work with.
func Standard() Set {
	return Set{Name: "standard", Recipes: []Recipe{
		{
			Names:  []string{Pause},
			Layers: []Layer{MountPoints(), CProgram("pause", "fixtures/images/pause/pause.c")},
			Config: v1.Config{Entrypoint: []string{"/pause"}, Env: []string{PathEnv}, User: "65535:65535", WorkingDir: "/"},
		},
		{
			Names:  []string{"registry.k8s.io/coredns/coredns:v1.15.0"},
			Layers: []Layer{MountPoints(), CoreDNS()},
			Config: v1.Config{Entrypoint: []string{"/coredns"}, Env: []string{PathEnv}, WorkingDir: "/",
				ExposedPorts: map[string]struct{}{"53/tcp": {}, "53/udp": {}}},
		},
		{
			Names:  []string{"plumbline.dev/agent:v1"},
			Layers: []Layer{MountPoints(), Text("tmp", map[string]string{"/tmp/.keep": ""}), GoProgram("agent", "fixtures/images/agent")},
			Config: v1.Config{Entrypoint: []string{"/agent"}, Cmd: []string{"serve"}, Env: []string{PathEnv}, WorkingDir: "/"},
		},
		BusyboxImage("docker.io/library/busybox:1.36", "docker.io/library/busybox:latest"),
		NginxImage("docker.io/library/nginx:1.14.2"),
		NginxImage("docker.io/library/nginx:1.16.1"),
		NginxImage("docker.io/library/nginx:1.27", "docker.io/library/nginx:latest"),
	}}
}

// CoreDNS is a layer with the program /coredns.
func CoreDNS() Layer { return Program(binaries.Runtime(), "coredns", "/coredns", 0o755) }

// BusyboxImage is busybox under one or more names.
func BusyboxImage(names ...string) Recipe {
	return Recipe{
		Names:  names,
		Layers: []Layer{Busybox()},
		Config: v1.Config{Cmd: []string{"sh"}, Env: []string{PathEnv}},
	}
}

// NginxImage is Debian's nginx under one or more names. Each call makes an image of
// its own: the same layers with a different label.
func NginxImage(names ...string) Recipe {
	var tags []string
	for _, name := range names {
		tags = append(tags, name[strings.LastIndex(name, ":")+1:])
	}
	return Recipe{
		Names: names,
		Layers: []Layer{
			Packages("nginx", "nginx-light", "bash", "coreutils"),
			Text("nginx-config", map[string]string{
				"/etc/nginx/nginx.conf":          nginxConf,
				"/etc/nginx/conf.d/default.conf": nginxDefaultServer,
				"/var/log/nginx/access.log":      "-> /dev/stdout",
				"/var/log/nginx/error.log":       "-> /dev/stderr",
				"/var/lib/nginx/.keep":           "",
				// Debian's packages leave the choice of a shell to the system's installer.
				"/usr/bin/sh": "-> bash",
			}),
		},
		Config: v1.Config{
			Cmd:          []string{"nginx", "-g", "daemon off;"},
			Env:          []string{PathEnv},
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			StopSignal:   "SIGQUIT",
			Labels:       map[string]string{"dev.plumbline.tag": strings.Join(tags, ",")},
		},
	}
}

const nginxConf = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
events { worker_connections 1024; }
http {
	include /etc/nginx/mime.types;
	default_type application/octet-stream;
	access_log /var/log/nginx/access.log combined;
	sendfile on;
	keepalive_timeout 65;
	include /etc/nginx/conf.d/*.conf;
}
`

const nginxDefaultServer = `server {
	listen 80;
	server_name localhost;
	location / {
		root /usr/share/nginx/html;
		index index.html;
	}
	error_page 500 502 503 504 /50x.html;
}
`
